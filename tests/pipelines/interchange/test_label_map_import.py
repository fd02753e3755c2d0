"""Import the released label maps of YT-360: folders of PNG files, of which each is one value."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avstore.datasets.yt360 import YT360
from avstore.datasets.yt360_panoptic import panoptic_classes
from avstore.manifests.label_maps import LabelMaps
from avstore.manifests.library import open_store
from avstore.manifests.store import Store, file_sha256
from avstore.manifests.verify import verify_store
from avstore.pipelines.features.panoptic_maps import merged
from avstore.pipelines.fetch.source import SourceError
from avstore.pipelines.interchange.feature_importer import (
    FeatureImportOptions,
    FeatureImportResult,
    import_feature,
)
from tests.pipelines.interchange import released
from tests.servers.media_server import MediaServer

KEYS = ("-a-bcdefg-1-5", "-a-bcdefg-1-15", "c_2-0")
FOLDER = "yt360/segmentation"
HEIGHT, WIDTH = 8, 16


def png(labels: np.ndarray, mode: str = "RGB") -> bytes:
    """Return a PNG file whose first channel has the labels."""
    buffer = io.BytesIO()
    if mode == "RGB":
        labels = np.stack([labels, labels // 2, 0 * labels], axis=2)
    Image.fromarray(labels).save(buffer, "PNG")
    return buffer.getvalue()


def pair(number: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> tuple[np.ndarray, np.ndarray]:
    """Return things and stuff, both of which have all kinds of pixels."""
    random = np.random.default_rng(number)
    things = random.choice([0, 7, 79, 80, 80, 80], size).astype(np.uint8)
    return things, random.choice([0, 1, 40, 53, 54], size).astype(np.uint8)


def folder(key: str, numbers: Iterable[int], mode: str = "RGB") -> dict[str, bytes]:
    files = {}
    for number in numbers:
        things, stuff = pair(number)
        files[f"{FOLDER}/{key}/stuff-{number:04d}.png"] = png(stuff, mode)
        files[f"{FOLDER}/{key}/things-{number:04d}.png"] = png(things, mode)
    return files


def run(store: Path, source: object) -> FeatureImportResult:
    paths = []
    for name, text in (
        ("segments", "-a-bcdefg-1 5,15\nc_2 0"),
        ("train", "-a-bcdefg-1\n"),
        ("test", "c_2\n"),
    ):
        paths.append(store.parent / f"{name}.txt")
        paths[-1].write_text(text)
    options = FeatureImportOptions("segmentation", [str(source)], annotations=paths)
    return import_feature(Store(store), YT360, options)


def reasons(done: FeatureImportResult) -> dict[str, int]:
    return {reason: count for reason, count, _ in done.reasons}


KINDS = ("zip", "tar", "tar.gz", "folder", "http zip")


@pytest.mark.parametrize("kind", KINDS)
def test_maps_come_from_every_kind_of_source_once(kind: str, tmp_path: Path) -> None:
    files = folder(KEYS[0], range(4)) | folder(KEYS[2], [0, 1, 3, 4], "L")
    files |= folder("zzzzzzzzzzz-3", [0]) | {f"{FOLDER}/{KEYS[0]}/readme.txt": b"x"}
    store = tmp_path / "store"

    def imported() -> FeatureImportResult:
        if kind == "folder":
            return run(store, released.write_folder(tmp_path / "maps", files))
        name = f"maps.{kind.rsplit(maxsplit=1)[-1]}"
        write = released.write_tar if "tar" in kind else released.write_zip
        path = write(tmp_path / name, files)
        if not kind.startswith("http"):
            return run(store, path)
        with MediaServer(tmp_path) as server:
            return run(store, f"{server.url}/ok/{name}")

    done = imported()
    account = (done.account.stored, done.account.unreadable, done.account.missing)
    assert account == (2, 0, 1)
    assert reasons(done) == {"extra": 1, "missing_maps": 1}
    assert (done.sources[0].new, done.sources[0].unused) == (2, 1)
    with open_store(store) as opened:
        values = opened.read("segmentation", [f"yt360/{KEYS[n]}" for n in (0, 2)])
        (gap,) = opened.query("FROM feature_problems WHERE reason = 'missing_maps'").rows()
    assert gap["clip_id"] == f"yt360/{KEYS[2]}"
    assert gap["detail"] == "of 5 maps: 2; the one before is used"
    found = LabelMaps.of(values[f"yt360/{KEYS[2]}"])
    assert (found.rate, found.missing) == (4.0, [2])
    np.testing.assert_array_equal(found.at(0.5), merged(*pair(1)))
    np.testing.assert_array_equal(found.at(99.0), merged(*pair(4)))
    shards = {path: file_sha256(path) for path in store.glob("shards/*/imported/*.tar")}
    again = imported()
    assert (again.sources[0].new, again.sources[0].known) == (0, 2)
    assert reasons(again) == reasons(done)
    assert shards == {path: file_sha256(path) for path in store.glob("shards/*/imported/*.tar")}
    assert verify_store(Store(store)) == []


@settings(max_examples=50, deadline=None)
@given(things=st.integers(0, 80), stuff=st.integers(0, 54))
def test_maps_are_merged_as_released(things: int, stuff: int) -> None:
    found = int(merged(*(np.full((1, 1), each, np.uint8) for each in (things, stuff)))[0, 0])
    # The released code: things; where they are 80, 80 + stuff; where that is 134, 255.
    expected = things if things != 80 else 80 + stuff
    assert found == (255 if expected == 134 else expected)


def edited(change: str) -> dict[str, bytes]:
    files = folder(KEYS[0], range(3))
    things = f"{FOLDER}/{KEYS[0]}/things-0001.png"
    if change == "one kind":
        return {name: content for name, content in files.items() if "stuff" in name}
    return (
        files
        | {
            "damaged": {things: files[things][:60]},
            "no picture": {things: b"x" * 100},
            "pair of two sizes": {things: png(pair(1, (4, 8))[0])},
            "maps of two sizes": {
                things: png(pair(1, (4, 8))[0]),
                things.replace("things", "stuff"): png(pair(1, (4, 8))[1]),
            },
            "thing 81": {things: png(np.full((HEIGHT, WIDTH), 81, np.uint8))},
            "stuff 55": {things.replace("things", "stuff"): png(np.full((8, 16), 55, np.uint8))},
            "map 1000": {
                f"{FOLDER}/{KEYS[0]}/{kind}-1000.png": png(own)
                for kind, own in zip(("things", "stuff"), pair(0), strict=True)
            },
        }[change]
    )


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ("one kind", "no_array", "none of 3 maps has both things and stuff"),
        ("damaged", "damaged", "things-0001.png: "),
        ("no picture", "damaged", "things-0001.png: "),
        ("pair of two sizes", "wrong_shape", "map 1: things are 8 x 4 pixels and stuff 16 x 8"),
        ("maps of two sizes", "wrong_shape", "its maps differ in size: 16 x 8 (2) and 8 x 4 (1)"),
        ("thing 81", "unknown_class", "map 1: things has class 81; 0 to 80 are known"),
        ("stuff 55", "unknown_class", "map 1: stuff has class 55; 0 to 54 are known"),
        ("map 1000", "refused", "map 1000 is not among the first 1000"),
    ],
)
def test_folders_that_cannot_be_used_have_a_line_each(
    change: str, reason: str, words: str, tmp_path: Path
) -> None:
    files = edited(change) | folder(KEYS[1], [0])
    done = run(tmp_path / "store", released.write_zip(tmp_path / "maps.zip", files))
    assert (done.account.stored, done.account.unreadable) == (1, 1)
    ((found, _, example),) = [each for each in done.reasons if each[0] != "missing_maps"]
    assert found == reason
    assert words in example


def test_a_source_without_maps_says_what_is_expected(tmp_path: Path) -> None:
    path = released.write_zip(tmp_path / "maps.zip", {"notes.txt": b"x"})
    with pytest.raises(SourceError, match=r"things-0000\.png"):
        run(tmp_path / "store", path)


def test_an_array_that_is_no_label_map_is_refused(tmp_path: Path) -> None:
    files = folder(KEYS[0], [0]) | {f"{FOLDER}/{KEYS[1]}.npy": released.npy(np.zeros(9, np.uint8))}
    done = run(tmp_path / "store", released.write_zip(tmp_path / "maps.zip", files))
    assert reasons(done) == {"no_array": 1}


def test_the_evaluated_classes_are_the_published_ones() -> None:
    names, evaluated = panoptic_classes()
    assert (len(names), len(evaluated)) == (134, 32)
    assert [names[each] for each in evaluated[:3]] == ["person", "car", "airplane"]
    assert [names[each] for each in evaluated[-3:]] == ["sea", "sand", "window"]
    assert (names[80], names[81], names[133]) == ("things", "banner", "rug")
