"""Test feature builds on a real store with a real Dask cluster."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.library import open_store
from avstore.manifests.lock import writing
from avstore.manifests.rebuild import rebuild
from avstore.manifests.store import Store, StoreError, sidecar_of
from avstore.manifests.verify import verify
from avstore.pipelines.features.driver import FeatureOptions, build_feature
from tests.pipelines.features import media
from tests.pipelines.features.toy import MeanColour

TOY = "tests.pipelines.features.toy"


def build(store: Store, scheduler: str, reference: str = f"{TOY}:MeanColour", **options):
    return build_feature(reference, FeatureOptions(store.root, scheduler=scheduler, **options))


def rows(store: Store, sql: str) -> list[tuple]:
    with open_read(store) as con:
        return con.execute(sql).fetchall()


def keys(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return list(dict.fromkeys(name.partition(".")[0] for name in tar.getnames()))


def test_companions_have_the_base_shards_keys_in_their_order(store: Store, scheduler: str) -> None:
    built = build(store, scheduler)
    assert (built.clips, built.shards, built.problems) == (7, 3, ())
    for (base,) in rows(store, "SELECT path FROM shards"):
        companion = base.replace(".tar", f".mean-colour-{built.fingerprint[:8]}.tar")
        assert keys(store.root / base) == keys(store.root / companion)


def test_values_and_their_source_digests_match_the_members(store: Store, scheduler: str) -> None:
    build(store, scheduler)
    with open_store(store.root) as reading:
        found = reading.read("mean-colour", ["toy/k00005"])["toy/k00005"]
        sample = reading.sample("toy/k00005").members
    pictures = [media.simplejpeg.decode_jpeg(sample[f"f{i:03d}.jpg"]) for i in range(4)]
    expected = np.mean([p.mean((0, 1)) for p in pictures], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    digest = hashlib.sha256(b"".join(sample[f"f{i:03d}.jpg"] for i in range(4))).hexdigest()
    query = "SELECT source_sha256 FROM feature_samples WHERE clip_id = 'toy/k00005'"
    assert rows(store, query) == [(digest,)]


def problems(store: Store) -> list[str]:
    with open_read(store) as con:
        return [problem.what for problem in verify(con, store)]


def test_verify_finds_a_damaged_a_missing_and_an_unknown_companion(
    store: Store, scheduler: str
) -> None:
    built = build(store, scheduler)
    assert problems(store) == []
    first, second, _ = sorted(store.shards.rglob("*mean-colour*.tar"))
    offset = rows(store, 'SELECT min("offset") FROM feature_samples')[0][0] + 130
    content = bytearray(first.read_bytes())
    content[offset] ^= 1
    first.write_bytes(content)
    (damaged,) = problems(store)
    assert "has members that differ from its rows, for example k0000" in damaged
    second.unlink()
    assert sum("not on disk" in what for what in problems(store)) == 1
    with writing(store), open_write(store) as writer:
        writer.con.execute("DELETE FROM feature_samples WHERE fingerprint = ?", [built.fingerprint])
        writer.publish()
    assert sum("has a sidecar that is not in" in what for what in problems(store)) == 3


def test_nothing_is_computed_twice_and_added_clips_alone(store: Store, scheduler: str) -> None:
    first = build(store, scheduler)
    before = {path: path.read_bytes() for path in store.shards.rglob("*mean-colour*")}
    assert len(before) == 6
    assert build(store, scheduler).up_to_date
    media.add_clips(store, 10, "r2")
    second = build(store, scheduler)
    assert (second.fingerprint, second.clips) == (first.fingerprint, 3)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_the_bytes_depend_on_clips_and_settings_alone(
    store: Store, scheduler: str, tmp_path: Path
) -> None:
    built = build(store, scheduler)
    first = {p.name: p.read_bytes() for p in store.shards.rglob("*mean-colour*")}
    for path in store.shards.rglob("*mean-colour*"):
        path.unlink()
    build_feature(f"{TOY}:MeanColour", FeatureOptions(store.root, workers=1, device="cpu"))
    assert {p.name: p.read_bytes() for p in store.shards.rglob("*mean-colour*")} == first
    assert len(first) == 2 * built.shards


def test_a_rebuilt_manifest_has_the_features(store: Store, scheduler: str) -> None:
    build(store, scheduler)
    tables = ["SELECT * FROM features", "SELECT * FROM feature_samples ORDER BY ALL"]
    before = [rows(store, sql) for sql in tables]
    with writing(store), open_write(store, fresh=True) as writer:
        rebuild(writer, store)
        writer.publish()
    assert [rows(store, sql) for sql in tables] == before


def test_other_parameters_make_another_feature(store: Store, scheduler: str) -> None:
    one = build(store, scheduler)
    two = build(store, scheduler, parameters={"scale": "2"})
    assert one.fingerprint != two.fingerprint
    with open_store(store.root) as reading:
        with pytest.raises(StoreError, match="more than once"):
            reading.read("mean-colour", ["toy/k00001"])
        values = [
            reading.read(f"mean-colour-{b.fingerprint[:8]}", ["toy/k00001"])["toy/k00001"]
            for b in (one, two)
        ]
    np.testing.assert_allclose(2 * values[0], values[1], rtol=1e-6)


def test_a_bad_clip_is_named_and_costs_its_shard_alone(store: Store, scheduler: str) -> None:
    built = build(store, scheduler, f"{TOY}:Fragile")
    assert built.shards == 2
    assert len(built.problems) == 1
    assert "toy/k00001 holds values that are not finite" in built.problems[0]
    assert not list(store.root.rglob("*.tmp"))


@pytest.mark.parametrize("lost", ["sidecar", "tar", "row"])
def test_a_killed_build_is_completed(store: Store, scheduler: str, lost: str) -> None:
    built = build(store, scheduler)
    path = f"{built.folder}train-000000.mean-colour-{built.fingerprint[:8]}.tar"
    if lost == "row":
        with writing(store), open_write(store) as writer:
            writer.con.execute("DELETE FROM feature_samples WHERE shard = ?", [path])
            writer.publish()
    else:
        (store.root / (path if lost == "tar" else sidecar_of(path))).unlink()
    again = build(store, scheduler)
    assert again.shards == (0 if lost == "row" else 1)
    assert rows(store, "SELECT count(*) FROM feature_samples") == [(7,)]
    assert (store.root / path).is_file()


def test_changed_labels_recompute_their_shards(store: Store, scheduler: str) -> None:
    reference = f"{TOY}:LabelCount"
    assert build(store, scheduler, reference).shards == 3
    assert build(store, scheduler, reference).up_to_date
    media.add_clips(store, 7, "r2", labels=["class 0", "class 1"])
    assert build(store, scheduler, reference).shards == 3
    with open_store(store.root) as reading:
        assert reading.read("label-count", ["toy/k00002"])["toy/k00002"].tolist() == [2]


def test_sidecar_positions_and_offsets_lead_to_the_values(store: Store, scheduler: str) -> None:
    built = build(store, scheduler)
    path = store.root / built.folder / f"train-000000.mean-colour-{built.fingerprint[:8]}.tar"
    content = path.read_bytes()
    sidecar = pq.read_table(path.with_suffix(".parquet")).to_pylist()
    assert len(sidecar) == 3
    for position, row in enumerate(sidecar):
        assert row["position"] == position
        member = content[row["offset"] : row["offset"] + row["size"]]
        assert np.load(io.BytesIO(member)).shape == (3,)


def test_stock_webdataset_reads_a_companion(store: Store, scheduler: str) -> None:
    import webdataset

    built = build(store, scheduler)
    path = store.root / built.folder / f"train-000000.mean-colour-{built.fingerprint[:8]}.tar"
    found = list(webdataset.WebDataset(str(path), shardshuffle=False).decode())
    assert [sample["mean-colour.npy"].shape for sample in found] == [(3,)] * 3


@pytest.mark.parametrize(
    ("reference", "options", "message"),
    [
        ("nothing", {}, "no extractor 'nothing'"),
        ("nowhere:It", {}, "no module named 'nowhere'"),
        (f"{TOY}:Missing", {}, "has no 'Missing'"),
        ("pathlib:Path", {}, "is not an extractor"),
        (f"{TOY}:MeanColour", {"parameters": {"size": "2"}}, "no parameter 'size'"),
        (f"{TOY}:MeanColour", {"parameters": {"scale": "big"}}, "is not of type float"),
        (f"{TOY}:MeanColour", {"dataset": "elsewhere"}, "no shards of elsewhere"),
        (f"{TOY}:MeanColour", {"recipe": "stella"}, "it has: toy toy-12345678"),
        ("vggish", {"weights": Path("gone.pth")}, "no weights at gone.pth"),
        ("convnext-audio", {}, "no library serves these weights"),
    ],
)
def test_a_wrong_call_is_an_error(
    store: Store, reference: str, options: dict, message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        build_feature(reference, FeatureOptions(store.root, **options))


def test_the_toy_is_an_extractor() -> None:
    from avstore.pipelines.features.extractor import Extractor

    assert isinstance(MeanColour(), Extractor)
