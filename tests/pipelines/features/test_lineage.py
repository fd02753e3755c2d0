"""Test lineage, staleness, and the commands that list, compare and drop features."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from avstore.manifests import gc
from avstore.manifests.catalogue import open_read
from avstore.manifests.library import open_store
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.cli.features import app
from avstore.pipelines.features import lineage as lineages
from avstore.pipelines.features.lineage import library_versions
from avstore.pipelines.features.registry import make_extractor
from tests.manifests import synthetic
from tests.pipelines.features import media, toy

COLOUR = "tests.pipelines.features.toy:MeanColour"
COUNT = "tests.pipelines.features.toy:LabelCount"


@pytest.fixture
def run(store: Store, scheduler: str):
    """Return a function that runs `avstore features …` and checks the exit status."""

    def call(*words: str, status: int = 0) -> str:
        tail = ["--scheduler", scheduler] if words[0] == "build" else []
        result = CliRunner().invoke(app, [*words, *tail, "--store", str(store.root)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result.output

    return call


def names(store: Store) -> list[str]:
    with open_read(store) as con:
        rows = con.execute(
            "SELECT DISTINCT feature || '-' || left(fingerprint, 8) FROM feature_samples ORDER BY 1"
        ).fetchall()
    return [row[0] for row in rows]


def reasons(run, status: int = 1) -> dict[str, list[str]]:
    lines = run("stale", "--json", status=status).splitlines()
    return {facts["feature"]: facts["reasons"] for facts in map(json.loads, lines)}


def test_the_manifest_records_the_lineage(run, store: Store) -> None:
    run("build", COLOUR, "--set", "scale=2")
    with open_read(store) as con:
        ((name, parameters, code, libraries, fingerprint),) = con.execute(
            "SELECT feature, parameters, code_version, library_versions, fingerprint FROM features"
        ).fetchall()
    kept = json.loads(parameters)
    assert (name, kept["parameters"], kept["base"]) == ("mean-colour", {"scale": 2.0}, "toy")
    assert kept["base_fingerprint"] == synthetic.FINGERPRINT
    assert code == f"{COLOUR} 1"
    assert set(json.loads(libraries)) == {"numpy", "simplejpeg"}
    assert names(store) == [f"mean-colour-{fingerprint[:8]}"]


def test_weights_are_recorded_by_their_sha256(run, store: Store, tmp_path) -> None:
    import hashlib

    path = tmp_path / "weights.bin"
    path.write_bytes(b"some weights")
    run("build", COLOUR, "--weights", str(path))
    with open_read(store) as con:
        rows = con.execute("SELECT weights_sha256 FROM features").fetchall()
    assert rows == [(hashlib.sha256(b"some weights").hexdigest(),)]


def test_a_new_library_makes_what_depends_on_it_stale_and_no_more(
    run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("build", COLOUR, COUNT)
    (colour,) = [name for name in names(store) if "colour" in name]
    assert "no feature is stale" in run("stale")
    installed = lineages.version
    monkeypatch.setattr(
        lineages, "version", lambda name: "99" if name == "simplejpeg" else installed(name)
    )
    assert reasons(run) == {colour: [f"simplejpeg {installed('simplejpeg')} -> 99"]}
    before = {p: p.stat().st_mtime_ns for p in store.shards.rglob("*.tar")}
    output = run("build", "--stale")
    assert "7 clips in 3 shards" in output
    assert "label-count" not in output
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in before.items())
    assert len(names(store)) == 3
    assert "replaced by mean-colour-" in run("stale")
    assert "up to date" in run("build", COLOUR)


def test_a_new_version_of_the_code_makes_its_feature_stale(
    run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("build", COLOUR, COUNT)
    monkeypatch.setattr(toy.MeanColour, "version", "2")
    (found,) = reasons(run).values()
    assert found == ["extractor version 1 -> 2"]


def test_a_new_recipe_makes_its_features_stale(run, store: Store) -> None:
    run("build", COLOUR)
    (old,) = names(store)
    changed = "87654321" + "cd" * 28
    media.add_clips(store, 7, "r2", fingerprint=changed)
    assert reasons(run) == {old: ["toy 12345678 -> toy 87654321"]}
    run("build", "--stale")
    assert len(names(store)) == 2
    new = next(name for name in names(store) if name != old)
    with open_store(store.root) as reading:
        for name in (old, new):
            assert reading.read(name, ["toy/k00003"])["toy/k00003"].shape == (3,)


def test_changed_labels_are_a_reason_only_where_they_are_read(run, store: Store) -> None:
    run("build", COLOUR, COUNT)
    media.add_clips(store, 7, "r2", labels=["class 0", "class 1"])
    (name,), (why,) = zip(*reasons(run).items(), strict=True)
    assert name.startswith("label-count-")
    assert why == ["labels or base of 3 shards changed"]
    run("build", "--stale")
    assert "no feature is stale" in run("stale")


def test_other_base_shards_under_the_same_name_are_noticed(run, store: Store) -> None:
    run("build", COLOUR)
    with open_read(store) as con:
        ((path,),) = con.execute("SELECT path FROM shards ORDER BY path LIMIT 1").fetchall()
    from avstore.manifests.catalogue import open_write
    from avstore.manifests.lock import writing

    with writing(store), open_write(store) as writer:
        writer.con.execute("UPDATE shards SET sha256 = 'other' WHERE path = ?", [path])
        writer.publish()
    assert list(reasons(run).values()) == [["base of 1 shards changed"]]
    assert "in 1 shard" in run("build", COLOUR)
    (companion,) = store.root.glob(path.replace(".tar", ".mean-colour-*.parquet"))
    assert pq.read_table(companion)["base_sha256"].unique().to_pylist() == ["other"]


def test_diff_compares_lineages_and_values(run, store: Store) -> None:
    run("build", COLOUR)
    (one,) = names(store)
    run("build", COLOUR, "--set", "scale=3")
    two = next(name for name in names(store) if name != one)
    output = run("diff", one, two)
    assert "parameter scale 1.0 -> 3.0" in output
    assert "of 7 clips: 0 equal, 0 of different shape" in output
    assert "mean cosine 1.000000" in output
    assert "the settings are the same" in run("diff", one, one)
    with pytest.raises(StoreError, match="has several versions; choose one of: mean-colour-"):
        run("diff", "mean-colour", two)


def test_dropped_features_can_be_built_again(run, store: Store) -> None:
    run("build", COLOUR)
    (one,) = names(store)
    run("build", COLOUR, "--set", "scale=3")
    assert "3 shards" in run("drop", one)
    assert one not in names(store)
    with open_read(store) as con:
        garbage = [str(item.path) for item in gc.find_garbage(con, store)]
    assert len(garbage) == 6
    assert all(one in path for path in garbage)
    run("build", COLOUR)
    assert one in names(store)


def test_list_shows_extractors_and_stored_features(run, store: Store) -> None:
    run("build", COLOUR)
    output = run("list")
    assert "clip-vitl14" in output
    assert names(store)[0] in output
    assert "7 of 7" in output
    assert "current" in output


def test_text_features_are_of_the_vocabulary(run, store: Store) -> None:
    words = ("clip-vitl14-text", "--random-weights", "1", "--set", "model=tiny")
    assert "2 clips in 1 shard of shards/toy/vocabulary/" in run("build", *words)
    assert "up to date" in run("build", *words)
    with open_store(store.root) as reading:
        ids = ["toy/label-0000", "toy/label-0001"]
        values = reading.read("clip-vitl14-text", ids)
    assert [value.shape for value in values.values()] == [(16,), (16,)]


def test_random_weights_of_another_seed_are_another_feature(run, store: Store) -> None:
    for seed in ("1", "2"):
        run("build", "clip-vitl14", "--random-weights", seed, "--set", "model=tiny")
    one, two = names(store)
    assert "weights" in run("diff", one, two)


def test_the_fingerprint_ignores_the_path_of_the_weights(run, store: Store, tmp_path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w.bin").write_bytes(b"weights")
        run("build", COLOUR, "--weights", str(tmp_path / folder / "w.bin"))
    assert len(names(store)) == 1
    shutil.rmtree(tmp_path / "a")


def test_only_libraries_of_what_is_read_count() -> None:
    assert set(library_versions(make_extractor("vggish"))) == {"av", "numpy", "soxr", "torch"}
    assert set(library_versions(make_extractor("resnet152"))) == {
        "simplejpeg",
        "torch",
        "torchvision",
    }
    # A user's extractor, which says `audio` as the first ones did, keeps its fingerprint.
    assert set(library_versions(toy.LabelCount())) == {"av", "numpy", "soxr"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("build",), "no feature is given"),
        (("build", COLOUR, "--set", "scale"), "is not NAME=VALUE"),
        (("drop", "clip-vitl14"), "is not in the store; choose one of: none"),
        (("build", "clip-vitl14", "--weights", "gone"), "no weights at gone"),
    ],
)
def test_a_wrong_call_is_one_line(run, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        run(*words)
