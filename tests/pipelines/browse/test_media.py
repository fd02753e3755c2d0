"""Frames, sound, members and spectrograms come from the shards as they are stored."""

import io
import json
import struct
import wave

import numpy as np
import pytest
from PIL import Image

from avstore.datasets.ambisonics import direction, encode
from avstore.pipelines.browse.ambisonics import COLUMNS, ROWS, energy_map
from tests.pipelines.browse.conftest import client
from tests.train.data import store_factory as toy

CLIP = toy.clip_id(2)
MEMBERS = dict(toy.members(2, toy.Shape()))


@pytest.mark.parametrize("suffix", MEMBERS)
def test_a_member_is_served_as_it_is_stored(pages, suffix: str) -> None:
    answer = pages.get(f"/member/{CLIP}/{suffix}")
    assert answer.content == MEMBERS[suffix]
    is_shown = suffix.endswith(("jpg", "flac"))
    assert ("attachment" in answer.headers.get("content-disposition", "")) == (not is_shown)
    download = pages.get(f"/member/{CLIP}/{suffix}?download=1")
    assert f"{CLIP.split('/')[1]}.{suffix}" in download.headers["content-disposition"]


@pytest.mark.parametrize("asked", ["bytes=0-9", "bytes=10-", "bytes=-7", "bytes=5-999999"])
def test_a_player_gets_the_range_that_it_asks_for(pages, asked: str) -> None:
    answer = pages.get(f"/member/{CLIP}/flac", headers={"range": asked})
    assert answer.status_code == 206
    first, last = answer.headers["content-range"].removeprefix("bytes ").split("/")[0].split("-")
    assert answer.content == MEMBERS["flac"][int(first) : int(last) + 1]


def test_a_range_beyond_the_end_is_refused(pages) -> None:
    answer = pages.get(f"/member/{CLIP}/flac", headers={"range": "bytes=99999999-"})
    assert answer.status_code == 416


def test_the_filmstrip_has_all_frames_with_their_times(pages) -> None:
    content = pages.get(f"/frames/{CLIP}").content
    (count,) = struct.unpack_from("<I", content)
    heads = [struct.unpack_from("<fI", content, 4 + 8 * n) for n in range(count)]
    start, found = 4 + 8 * count, []
    for _, size in heads:
        found.append(content[start : start + size])
        start += size
    assert found == [MEMBERS[name] for name in MEMBERS if name.endswith(".jpg")]
    assert start == len(content)
    assert [time for time, _ in heads] == sorted(time for time, _ in heads)


def test_the_poster_is_the_middle_frame(pages) -> None:
    answer = pages.get(f"/poster/{CLIP}")
    assert answer.content == MEMBERS["f004.jpg"]
    assert answer.headers["content-type"] == "image/jpeg"


def test_the_spectrogram_has_a_column_a_frame_and_high_frequencies_on_top(pages) -> None:
    picture = Image.open(io.BytesIO(pages.get(f"/spectrogram/{CLIP}").content))
    bank = toy.fbank(2, toy.Shape())
    assert picture.size == bank.shape
    light = np.asarray(picture.convert("L")).astype(float)
    assert np.corrcoef(light.ravel(), bank.T[::-1].ravel())[0, 1] > 0.95


def test_the_sound_is_the_stored_one(pages) -> None:
    content = pages.get(f"/sound/{CLIP}").content
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, 16000)
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert np.abs(samples.astype(int) - toy.wave(2)).max() <= 1


def test_ambisonic_sound_becomes_stereo_and_a_map(ambisonic_folder) -> None:
    with client(ambisonic_folder) as found:
        assert 'data-energy="1"' in found.get(f"/clip/{CLIP}").text
        with wave.open(io.BytesIO(found.get(f"/sound/{CLIP}").content)) as file:
            assert file.getnchannels() == 2
        facts = json.loads(found.get(f"/energy/{CLIP}").content)
        assert (facts["rows"], facts["columns"], facts["steps"]) == (ROWS, COLUMNS, 2)


@pytest.mark.parametrize("x", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("y", [0.2, 0.5, 0.7])
def test_the_map_is_brightest_where_the_sound_comes_from(x: float, y: float) -> None:
    signal = np.random.default_rng(0).normal(size=24000)
    found = energy_map(encode(signal, *direction(x, y)), 24000)
    for step in found:
        row, column = np.unravel_index(step.argmax(), step.shape)
        assert abs((column + 0.5) / COLUMNS - x) <= 1 / COLUMNS
        assert abs((row + 0.5) / ROWS - y) <= 1 / ROWS


def test_silence_has_no_direction() -> None:
    assert not energy_map(np.zeros((4, 100), np.float32), 24000).any()
    with pytest.raises(ValueError, match="2 channels, not 4"):
        energy_map(np.zeros((2, 100), np.float32), 24000)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        (f"/member/{CLIP}/f099.jpg", "has no member"),
        (f"/member/{CLIP}/..%2f..%2fmanifest.duckdb", "has no member"),
        (f"/poster/{toy.clip_id(23)}", "is not stored"),
        ("/sound/toy/nothing", "is not stored"),
    ],
)
def test_what_is_not_stored_is_said(pages, path: str, part: str) -> None:
    answer = pages.get(path)
    assert answer.status_code in (400, 404)
    assert part in answer.text or answer.status_code == 404


def test_damaged_shards_show_as_such_on_the_clip(own_folder) -> None:
    shards = sorted(own_folder.glob("shards/toy/*/*-000000.tar"))
    whole = shards[0].read_bytes()
    with client(own_folder) as found:
        shards[0].write_bytes(whole[:-4096].replace(MEMBERS["f004.jpg"][:60], b"x" * 60))
        page = found.get(f"/clip/{CLIP}")
        assert page.status_code == 200
        assert "Damaged:" in page.text
        assert "run avstore verify" in page.text
        assert found.get("/clips").status_code == 200
        poster = found.get(f"/poster/{CLIP}")
        assert poster.status_code == 422
        assert poster.text.startswith("damaged: shards/")


def test_a_lost_shard_shows_as_damaged(own_folder) -> None:
    for shard in own_folder.glob("shards/toy/*/*.tar"):
        shard.unlink()
    with client(own_folder) as found:
        assert "Damaged:" in found.get(f"/clip/{CLIP}").text
        assert found.get("/clips").status_code == 200


def test_a_changed_byte_is_noticed_by_the_checksum(own_folder) -> None:
    (shard,) = own_folder.glob("shards/toy/*/*-000000.tar")
    content = bytearray(shard.read_bytes())
    content[content.index(MEMBERS["f004.jpg"]) + 200] ^= 1
    shard.write_bytes(content)
    with client(own_folder) as found:
        assert "CRC-32" in found.get(f"/clip/{CLIP}").text


def test_a_remote_store_is_read_by_ranges_and_kept(toy_folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AVSTORE_CACHE", str(tmp_path / "cache"))
    with client(f"file://{toy_folder}", cache_bytes=10**8) as found:
        assert found.get("/clips").text.count("<figure") == 24
        assert found.get(f"/poster/{CLIP}").content == MEMBERS["f004.jpg"]
        assert "Damaged" not in found.get(f"/clip/{CLIP}").text
    assert not list((tmp_path / "cache").rglob("*.tar"))
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*")) > 10_000


@pytest.mark.parametrize("asked", ["bytes=" + "9" * 5000 + "-", "bytes=0-" + "9" * 5000])
def test_a_range_of_too_many_digits_is_ignored(pages, asked: str) -> None:
    answer = pages.get(f"/member/{CLIP}/flac", headers={"range": asked})
    assert answer.status_code == 200
