"""Audio of others: a `KEY.flac` that is no FLAC reads no other file, wherever it is decoded."""

import io
from pathlib import Path

import av
import numpy as np
import pytest

from avstore.manifests.guarded_media import UnreadableAudioError, open_stored_audio
from avstore.manifests.store import StoreError
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.audio import encode_flac
from avstore.pipelines.extract.sandbox import Sandbox
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.interchange.convert import convert
from avstore.pipelines.interchange.foreign_media import ForeignItem
from avstore.pipelines.interchange.layouts import transcode
from avstore.train.data.transforms import masks, waveform
from tests.pipelines.extract.media import ffmpeg

TONE = (10_000 * np.sin(np.arange(16_000) / 20)).astype(np.int16)
CONCAT = b"ffconcat version 1.0\nfile beside.flac\n"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as box:
        yield box


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A FLAC file in the current directory, where a playlist of a relative name finds it."""
    flac = encode_flac(TONE, 16_000)
    (tmp_path / "beside.flac").write_bytes(flac)
    monkeypatch.chdir(tmp_path)
    with av.open(io.BytesIO(CONCAT)) as container:  # without lists it is read
        assert next(container.decode(audio=0)).samples
    return flac


def ogg(flac: bytes) -> bytes:
    return ffmpeg("-i", "-", "-c", "copy", "-f", "ogg", "-", stdin=flac)


def stored(content: bytes) -> StoredClip:
    return StoredClip("toy/a", ranges={"flac": None}, _seen={"flac": content})


def test_stored_audio_is_flac_or_wav(beside: bytes) -> None:
    wav = transcode(beside, "wav")
    for content in (beside, wav, memoryview(beside)):
        samples, rate = waveform.decode(memoryview(content))
        assert rate == 16_000
        np.testing.assert_array_equal(np.round(samples * 32768).astype(np.int16), TONE)
    assert len(stored(wav).waveform()) == len(TONE)


def mp3_as_wav(flac: bytes) -> bytes:
    return ffmpeg("-i", "-", "-c:a", "libmp3lame", "-f", "wav", "-", stdin=flac)


HOSTILE = {
    "concat": lambda flac: CONCAT,
    "hls": lambda flac: b"#EXTM3U\n#EXTINF:1,\nbeside.flac\n#EXT-X-ENDLIST\n",
    "other container": ogg,
    "other codec": mp3_as_wav,
    "cut": lambda flac: flac[:20],
    "empty": lambda flac: b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_stored_audio_of_another_kind_is_refused(beside: bytes, name: str) -> None:
    content = HOSTILE[name](beside)
    with pytest.raises(UnreadableAudioError, match="stored audio cannot be decoded"):
        waveform.decode(memoryview(content))
    with pytest.raises(UnreadableAudioError):
        transcode(content, "wav")
    with pytest.raises(StoreError, match="flac of toy/a cannot be decoded"):
        stored(content).waveform()


def test_the_refused_codec_is_named(beside: bytes) -> None:
    with (
        pytest.raises(UnreadableAudioError, match="audio codec 'mp3float' is not one of"),
        open_stored_audio(mp3_as_wav(beside)),
    ):
        pass


def item(audio: bytes, **rest) -> ForeignItem:
    return ForeignItem("a", [b"\xff\xd8\xff"], audio, **rest)


@pytest.mark.parametrize("name", ["concat", "hls", "empty", "cut"])
def test_imported_audio_reads_no_other_file(beside: bytes, sandbox: Sandbox, name: str) -> None:
    result = convert(item(HOSTILE[name](beside)), "toy/a", 10.0, sandbox)
    assert result.verdict is Verdict.UNDECODABLE
    assert result.detail.startswith("audio cannot be decoded: ")


def test_imported_audio_is_decoded_in_the_child(beside: bytes, sandbox: Sandbox) -> None:
    result = convert(item(beside), "toy/a", 10.0, sandbox)
    assert dict(result.members)["flac"] == beside, "kept as it is"
    for other in (ogg(beside), transcode(beside, "mp3"), mp3_as_wav(beside)):
        result = convert(item(other), "toy/a", 10.0, sandbox)
        assert result.verdict is None
        assert dict(result.members)["flac"][:4] == b"fLaC"


def test_an_imported_codec_that_is_not_allowed_is_named(beside: bytes, sandbox: Sandbox) -> None:
    truehd = ffmpeg(
        "-i", "-", "-c:a", "truehd", "-strict", "-2", "-ar", "48000", "-f", "matroska", "-",
        stdin=beside,
    )  # fmt: skip
    result = convert(item(truehd), "toy/a", 10.0, sandbox)
    assert "audio codec 'truehd' is not one of the allowed codecs" in result.detail


def huge_npy() -> bytes:
    header = b"{'descr': '<f2', 'fortran_order': False, 'shape': (900000000000, 128), }"
    header = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize("fbank", [huge_npy(), b"\x80\x04N.", b"PK\x03\x04", b"\x93NUMPY"])
def test_a_filter_bank_that_is_none_is_computed(
    beside: bytes, sandbox: Sandbox, fbank: bytes
) -> None:
    result = convert(item(beside, fbank=fbank), "toy/a", 10.0, sandbox)
    bank = np.load(io.BytesIO(dict(result.members)["fbank.npy"]))
    assert bank.shape == (result.fbank_frames, 128)

    with pytest.raises(StoreError, match=r"fbank\.npy of toy/a cannot be decoded"):
        StoredClip("toy/a", ranges={"fbank.npy": None}, _seen={"fbank.npy": fbank}).fbank()


def test_a_mask_is_a_png() -> None:
    """Pillow would run Ghostscript for an EPS file."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    with pytest.raises((ValueError, OSError), match="cannot identify"):
        masks.decode(memoryview(eps), None, (0, 0, 8, 8), 8)
