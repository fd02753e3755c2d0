"""Task streams: TOML to queries, sizes against the published annotation files, reports."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from avstore.datasets import registry
from avstore.datasets.audioset import vocabulary as audioset_vocabulary
from avstore.manifests import annotation_sets as published
from avstore.manifests.schema import create_schema
from avstore.manifests.streams import StreamError, parse_stream
from avstore.manifests.task_report import report_stream
from avstore.manifests.tasks import create_task_view, register_stream
from avstore.pipelines.build.annotations import read_annotations
from avstore.pipelines.build.task_streams import load_stream

VGG8 = ["sports", "music", "vehicle", "people", "animals", "home_nature"]
VGG8 += ["others_part1", "others_part2"]


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        create_schema(connection)
        yield connection


def publish(con: duckdb.DuckDBPyConnection, dataset: str, paths: list[Path]) -> None:
    published.replace_annotations(con, read_annotations(registry.get(dataset), paths))


def store_everything(con: duckdb.DuckDBPyConnection, where: str = "true") -> None:
    """Make every clip of the manifest count as stored."""
    con.execute("INSERT INTO shards SELECT 's', 'd', 'r', 'f', 'x', 0, 0, ''")
    columns = [row[0] for row in con.execute("DESCRIBE samples").fetchall()]
    values = {"clip_id": "clip_id", "shard": "'s'", "fingerprint": "'f'"}
    chosen = ", ".join(f"{values.get(name, 'NULL')} AS {name}" for name in columns)
    con.execute(f"INSERT INTO samples SELECT {chosen} FROM clips WHERE {where}")


def sizes(con: duckdb.DuckDBPyConnection, stream: str) -> dict[tuple[str, str], int]:
    rows = con.execute(
        "SELECT task, role, count(*) FROM task_clips WHERE stream = ? GROUP BY ALL", [stream]
    ).fetchall()
    return {(task, role): clips for task, role, clips in rows}


@pytest.mark.parametrize("name", registry.stream_names())
def test_every_shipped_stream_registers_and_says_what_it_is(
    con: duckdb.DuckDBPyConnection, name: str
) -> None:
    stream = load_stream(name)
    assert stream.name == name
    assert stream.title != name
    assert stream.fidelity in {"strict", "published"}
    register_stream(con, stream)
    create_task_view(con)
    roles = {row[0] for row in con.execute("SELECT role FROM tasks").fetchall()}
    assert {"train", "eval"} <= roles
    assert con.execute("SELECT count(*) FROM task_clips").fetchone() == (0,)


def test_every_stream_that_a_dataset_names_is_shipped() -> None:
    named = {stream for name in registry.own_names() for stream in registry.get(name).streams}
    assert named <= set(registry.stream_names())


def test_class_lists_are_disjoint_and_known() -> None:
    for name, classes in (("vggsound-8", 309), ("audioset-7", 171)):
        table = tomllib.loads(registry.stream_text(name))
        known = {label.label for label in registry.get(table["dataset"]).vocabulary()}
        listed = [
            label
            for task in table["tasks"]
            for label in [*task["labels"], *task.get("untrained_labels", [])]
        ]
        assert len(listed) == len(set(listed)) == classes
        assert set(listed) <= known
    vgg = tomllib.loads(registry.stream_text("vggsound-8"))
    assert [task["task"] for task in vgg["tasks"]] == VGG8
    assert [len(task["labels"]) for task in vgg["tasks"]] == [20] * 8
    assert [len(t["labels"] + t["untrained_labels"]) for t in vgg["tasks"]] == [
        *(26, 63, 30, 49, 74, 22, 20, 25)
    ]


def test_vggsound_8_has_the_published_test_rows(
    con: duckdb.DuckDBPyConnection, shared_data: Path
) -> None:
    publish(con, "vggsound", [shared_data / "annotations" / "vggsound" / "test.csv"])
    store_everything(con)
    register_stream(con, load_stream("vggsound-8"))
    create_task_view(con)
    found = sizes(con, "vggsound-8")
    evals = [found[task, "eval"] for task in VGG8]
    assert evals == [1000, 1000, 1000, 1000, 999, 1000, 1000, 1000]
    assert sum(evals) == 7_999
    assert sum(found[task, "retrieval"] for task in VGG8) == 309 * 5


def test_cap_takes_the_first_valid_clips_in_list_order(con: duckdb.DuckDBPyConnection) -> None:
    rows = [
        (f"vggsound/{i}", "vggsound", str(i), "train", ["bowling impact"], [72], i)
        for i in range(900)
    ]
    con.executemany(
        "INSERT INTO clips (clip_id, dataset, key, split, labels, label_ids, position) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    store_everything(con, "position % 2 = 1")
    con.execute(
        "INSERT INTO quality (clip_id, fingerprint, verdict) VALUES ('vggsound/1', 'f', 'silent')"
    )
    register_stream(con, load_stream("vggsound-8"))
    create_task_view(con)
    keys = con.execute(
        "SELECT position FROM clips WHERE clip_id IN "
        "(SELECT clip_id FROM task_clips WHERE role = 'train') ORDER BY 1"
    ).fetchall()
    assert [key for (key,) in keys] == list(range(3, 803, 2))


def test_two_recipes_do_not_count_a_clip_twice(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "INSERT INTO clips (clip_id, dataset, key, split, labels, label_ids, position) "
        "SELECT 'vggsound/' || i, 'vggsound', i, 'train', ['bowling impact'], [72], i "
        "FROM range(300) t(i)"
    )
    store_everything(con)
    con.execute("UPDATE samples SET fingerprint = 'g'")
    store_everything(con)
    register_stream(con, load_stream("vggsound-8"))
    create_task_view(con)
    assert sizes(con, "vggsound-8") == {("sports", "train"): 300}


def test_audioset_7_against_the_rule_worked_out_by_hand(
    con: duckdb.DuckDBPyConnection, shared_data: Path
) -> None:
    publish(con, "audioset", [shared_data / "annotations" / "audioset" / "eval_segments.csv"])
    store_everything(con)
    streams = {1: load_stream("audioset-7"), 2: load_stream("audioset-7-readme")}
    tasks = tomllib.loads(registry.stream_text("audioset-7"))["tasks"]
    task_of = {label: task["task"] for task in tasks for label in task["labels"]}
    names = {label.label_id: label.label for label in audioset_vocabulary()}
    expected: dict[int, dict[str, str]] = {1: {}, 2: {}}
    for clip_id, ids in con.execute("SELECT clip_id, label_ids FROM clips").fetchall():
        mapped = [task_of[names[i]] for i in sorted(ids) if names[i] in task_of]
        for most in (1, 2):
            if mapped and len(set(mapped)) <= most:
                expected[most][clip_id] = mapped[0]
    for most, stream in streams.items():
        register_stream(con, stream)
        create_task_view(con)
        rows = con.execute(
            "SELECT clip_id, task FROM task_clips WHERE stream = ? AND role = 'eval'",
            [stream.name],
        ).fetchall()
        assert dict(rows) == expected[most]
        assert len(rows) == len(expected[most])
    assert len(expected[1]) < len(expected[2])


def test_retrieval_is_five_a_class_and_the_same_every_time(
    con: duckdb.DuckDBPyConnection, shared_data: Path
) -> None:
    publish(con, "vggsound", [shared_data / "annotations" / "vggsound" / "test.csv"])
    store_everything(con)
    register_stream(con, load_stream("vggsound-8"))
    register_stream(con, load_stream("vggsound-8", name="other", seed=1))
    create_task_view(con)
    pick = "SELECT clip_id FROM task_clips WHERE stream = ? AND role = 'retrieval' ORDER BY 1"
    first = con.execute(pick, ["vggsound-8"]).fetchall()
    assert first == con.execute(pick, ["vggsound-8"]).fetchall()
    assert first != con.execute(pick, ["other"]).fetchall()
    per_class = con.execute(
        "SELECT count(*) FROM clips WHERE clip_id IN "
        "(SELECT clip_id FROM task_clips WHERE stream = 'vggsound-8' AND role = 'retrieval') "
        "GROUP BY labels"
    ).fetchall()
    assert per_class == [(5,)] * 309


def test_class_incremental_by_parameters(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "INSERT INTO clips (clip_id, dataset, key, split, labels, label_ids, position) "
        "SELECT 'vggsound/' || i, 'vggsound', i, if(i % 4 = 0, 'test', 'train'), [i::VARCHAR], "
        "[i % 309], i FROM range(3090) t(i)"
    )
    store_everything(con)
    register_stream(con, load_stream("vggsound-ci"))
    found = report_stream(con, "vggsound-ci")
    assert len({size.task for size in found.sizes}) == 31
    assert not found.overlaps
    train = [size.stored for size in found.sizes if size.role == "train"]
    evaluated = [size.stored for size in found.sizes if size.role == "eval"]
    assert sum(train) + sum(evaluated) == 3090
    again, other = (
        load_stream("vggsound-ci", generate={**_generate("vggsound-ci"), "seed": seed})
        for seed in (0, 1)
    )
    assert again == load_stream("vggsound-ci")
    assert other.tasks != again.tasks


def _generate(name: str) -> dict[str, object]:
    return dict(tomllib.loads(registry.stream_text(name))["generate"])


def test_report_names_what_is_missing_why_and_what_overlaps(
    con: duckdb.DuckDBPyConnection,
) -> None:
    con.execute(
        "INSERT INTO clips (clip_id, dataset, key, source_id, split, labels, position) VALUES "
        "('d/a', 'd', 'a', 'v1', 'train', ['x'], 0), ('d/b', 'd', 'b', 'v2', 'train', ['y'], 1), "
        "('d/c', 'd', 'c', 'v1', 'test', ['x'], 2)"
    )
    store_everything(con, "key <> 'b'")
    con.execute(
        "INSERT INTO status (clip_id, stage, status, verdict) "
        "VALUES ('d/b', 'r-f', 'gone', 'private')"
    )
    stream = parse_stream("""
name = "s"
[queries]
train = "SELECT clip_id FROM stored_clips WHERE split = 'train'"
eval = "SELECT clip_id FROM stored_clips WHERE split = $split -- the list"
[[tasks]]
task = "one"
split = "test"
[[tasks]]
task = "it's"
split = "train"
""")
    register_stream(con, stream)
    create_task_view(con)
    found = report_stream(con, "s")
    train = found.sizes[0]
    assert (train.published, train.stored, train.missing, train.why) == (2, 1, 1, "1 private")
    shared = {(o.kind, o.first, o.second): o.count for o in found.overlaps}
    assert shared["clips", "one train", "it's train"] == 2
    assert shared["clips", "one train", "it's eval"] == 2
    assert shared["videos", "train of all tasks", "eval of all tasks"] == 1
    assert len(found.problems) == 3


def test_leakage_views(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "INSERT INTO clips (clip_id, dataset, key, source_id, split, labels) VALUES "
        "('audioset/v_000001', 'audioset', 'v_000001', 'v', 'train', ['x']), "
        "('vggsound/v_000009', 'vggsound', 'v_000009', 'v', 'test', ['x']), "
        "('vggsound/w_000009', 'vggsound', 'w_000009', 'w', 'train', ['x'])"
    )
    create_task_view(con)
    assert con.execute("SELECT source_id, splits FROM shared_sources").fetchall() == [
        ("v", ["audioset:train", "vggsound:test"])
    ]
    assert con.execute("SELECT clip_id, evaluated_by FROM leaking_clips").fetchall() == [
        ("audioset/v_000001", ["vggsound/v_000009"])
    ]
    train = next(t.queries["train"] for t in load_stream("mixed").tasks if "animal" in t.task)
    assert "leaking_clips" in train


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not TOML"),
        ("name = 'x'", "'tasks'"),
        ("name = 'x'\n[[tasks]]\nlabels = []", "'task'"),
        ("name = 'x'\n[queries]\nfit = 'SELECT 1'\n[[tasks]]\ntask = 'a'", "role 'fit'"),
        ("name = 'x'\n[queries]\ntrain = 'SELECT $n'\n[[tasks]]\ntask = 'a'", r"\$n"),
        ("name = 'x'\n[[tasks]]\ntask = 'a'\n[[tasks]]\ntask = 'a'", "'a' is listed twice"),
    ],
)
def test_wrong_toml_is_named(text: str, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        parse_stream(text)


@pytest.mark.parametrize("query", ["SELECT nothing FROM clips", "SELECT key FROM clips", "DROP"])
def test_wrong_query_is_refused_with_its_task(con: duckdb.DuckDBPyConnection, query: str) -> None:
    stream = parse_stream(f"name = 'x'\n[queries]\ntrain = '{query}'\n[[tasks]]\ntask = 'first'")
    with pytest.raises(StreamError, match="'first', train"):
        register_stream(con, stream)


def test_unknown_stream_names_the_nearest() -> None:
    with pytest.raises(LookupError, match="'vggsound-8'"):
        load_stream("vggsound8")
