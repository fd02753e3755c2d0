"""From SQL to lists: order, choice of recipe, clips stored twice, many sources."""

import random
import re
import shutil

import pytest

from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import StoreError
from avstore.train.data import open_store, sample_list, sources

ALL = "SELECT clip_id FROM clips"


@pytest.fixture
def grown(toy_store, tmp_path):
    """Builds a copy of the store whose manifest was changed by statements."""

    def build(*statements):
        store = open_store(shutil.copytree(toy_store.root, tmp_path / "store"))
        with writing(store.paths), open_write(store.paths) as writer:
            for statement in statements:
                writer.con.execute(statement)
            writer.publish()
        return store

    return build


def copied(table, **changes):
    """Rows of a table once more, some columns changed."""
    named = ", ".join(f"{value} AS {column}" for column, value in changes.items())
    return f"INSERT INTO {table} SELECT * REPLACE ({named}) FROM {table}"


def test_clips_of_several_datasets_are_in_order_of_their_ids(grown):
    """'to/…' comes after 'to-2/…', though the name 'to' comes before 'to-2'."""
    other = "replace({}, 'toy', 'to-2')"
    path = other.format("path")
    store = grown(
        copied("clips", clip_id=other.format("clip_id"), dataset="'to-2'"),
        copied("samples", clip_id=other.format("clip_id"), shard=other.format("shard")),
        copied("shards", dataset="'to-2'", path=path),
        "UPDATE clips SET clip_id = replace(clip_id, 'toy', 'to'), dataset = 'to' "
        "WHERE dataset = 'toy'",
        "UPDATE samples SET clip_id = replace(clip_id, 'toy', 'to')",
        "UPDATE shards SET dataset = 'to' WHERE dataset = 'toy'",
    )
    found = sample_list(store, ALL)
    assert len(found) == 46
    assert found.clip_ids == sorted(found.clip_ids)
    assert found.clip_ids[0].startswith("to-2/")
    assert [dataset for dataset, _ in found.stages] == ["to", "to-2"]


def test_a_clip_stored_twice_is_one_sample_of_the_last_shard(grown, toy_list):
    last = "'shards/toy/zz.tar'"
    one = toy_list.clip_ids[4]
    store = grown(
        copied("shards", path=last) + " LIMIT 1",
        copied("samples", shard=last) + f" WHERE clip_id = '{one}'",
    )
    found = sample_list(store, ALL)
    assert found.clip_ids == toy_list.clip_ids
    assert found.sample(4).shard.path == last.strip("'")
    assert found.sample(5).shard == toy_list.sample(5).shard


def test_of_two_recipes_the_one_with_more_of_the_clips_is_used(grown, toy_list, caplog):
    other = {"fingerprint": "repeat('9', 64)"}
    path = "replace({}, 'shards/', 'shards/other/')"
    few = " WHERE clip_id < (SELECT median(clip_id) FROM samples)"
    store = grown(
        copied("shards", path=path.format("path"), recipe="'aaa'", **other),
        copied("samples", shard=path.format("shard"), **other) + few,
    )
    found = sample_list(store, ALL)
    assert found.clip_ids == toy_list.clip_ids
    assert found.stages == toy_list.stages
    assert "is stored by several recipes" in caplog.text
    named = sample_list(store, ALL, recipe="aaa")
    assert 0 < len(named) < len(found)
    assert set(named.missing) == set(toy_list.clip_ids) - set(named.clip_ids) | set(found.missing)
    folder = store.root / "shards" / "toy" / named.stages[0][1]
    folder.mkdir(parents=True, exist_ok=True)
    assert sample_list(open_store(folder), ALL).clip_ids == named.clip_ids
    only = sample_list(store, "SELECT clip_id FROM samples WHERE fingerprint[1] = '9'")
    assert len(only) == len(named)


def test_versions_of_a_feature_are_named_with_their_recipes(grown):
    store = grown(copied("feature_samples", fingerprint="repeat('9', 64)"))
    with pytest.raises(StoreError, match=r"several versions of toy-feature") as caught:
        sample_list(store, ALL, features=["toy-feature"])
    found = re.findall(r"toy-feature-(\w{8}) \(of [\w-]+\)", str(caught.value))
    assert len(found) == 2
    assert "99999999" in found
    assert len(sample_list(store, ALL, features=["toy-feature-99999999"]))


def test_any_number_of_sources_each_with_its_clips(toy_store, toy_list):
    chance = random.Random(0)
    ids = toy_list.clip_ids
    wanted = {f"s{n}": chance.sample(ids, chance.randrange(1, len(ids))) for n in range(130)}
    queries = {
        name: "SELECT unnest([{}]) AS clip_id -- {}".format(", ".join(map(repr, own)), name)
        for name, own in wanted.items()
    }
    samples, found = sources(toy_store, queries)
    assert samples.fingerprint == toy_list.fingerprint
    assert "mask_0" not in samples.table.column_names
    for source in found:
        named = [samples.clip_ids[place] for place in source.indices]
        assert named == sorted(wanted[source.name])


def test_a_source_without_a_stored_clip_is_named(toy_store, toy_list):
    missing = f"SELECT '{toy_list.missing[0]}' AS clip_id"
    with pytest.raises(StoreError, match="'none'"):
        sources(toy_store, {"all": ALL, "none": missing})


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("CREATE TABLE x (a INT)", "read-only"),
        ("SET threads = 2", "the configuration has been locked"),
        ("SELECT key FROM clips", "no column clip_id"),
        ("SELECT clip_id FROM nowhere", "nowhere"),
        ("", "SELECT"),
    ],
)
def test_what_is_no_query_for_clips_is_said(toy_store, sql, message):
    with pytest.raises(StoreError, match=message):
        sample_list(toy_store, sql)


def test_a_query_may_bring_other_labels(toy_store):
    sql = "SELECT clip_id, [7, 3]::BIGINT[] AS label_ids FROM clips"
    samples = sample_list(toy_store, sql)
    assert {tuple(samples.label_ids(i)) for i in range(len(samples))} == {(7, 3)}
    own = sample_list(toy_store, ALL)
    same = sample_list(toy_store, "SELECT clip_id, label_ids FROM trainable")
    assert [same.label_ids(i) for i in range(len(same))] == [
        own.label_ids(i) for i in range(len(own))
    ]


def test_different_labels_of_a_clip_are_refused(toy_store):
    sql = f"SELECT clip_id, [1] AS label_ids FROM clips UNION ALL SELECT *, [2] FROM ({ALL})"
    with pytest.raises(StoreError, match="different label_ids; choose one label_set"):
        sample_list(toy_store, sql)
