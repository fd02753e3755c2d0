"""Test the list of allowed codecs: others are refused by name, and every allowed one decodes."""

import av
import pytest

from avstore.manifests.guarded_media import FOREIGN, decoder_name, open_foreign
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.recipe import load_recipe, parse_recipe
from tests.pipelines.extract.media import ffmpeg, make_clip, source

STELLA = load_recipe("stella")
DECORD = parse_recipe(STELLA.model_dump() | {"decoder": "decord"})
X264 = ("libx264", "-preset", "ultrafast")
PAL = ("-s", "720x576", "-pix_fmt", "yuv420p")

FORBIDDEN = {
    "exr": ("mkv", ("exr", "-pix_fmt", "gbrpf32le"), ("aac",)),
    "jpeg2000": ("mov", ("jpeg2000", "-pix_fmt", "yuv420p"), ("aac",)),
    "ffv1": ("mkv", ("ffv1",), ("aac",)),
    "dvvideo": ("avi", ("dvvideo", *PAL), ("pcm_s16le", "-ar", "48000")),
    "huffyuv": ("avi", ("huffyuv",), ("pcm_s16le",)),
    "cinepak": ("avi", ("cinepak",), ("pcm_s16le",)),
    "truehd": ("mkv", X264, ("truehd", "-ar", "48000")),
    "wavpack": ("mkv", X264, ("wavpack",)),
    "dca": ("mkv", X264, ("dca", "-ar", "48000", "-ac", "2")),
}
# Decoder: container and encoder.
VIDEO = {
    "h264": ("mp4", X264),
    "hevc": ("mp4", ("libx265", "-preset", "ultrafast", "-x265-params", "log-level=error")),
    "vp8": ("webm", ("libvpx", "-cpu-used", "8", "-deadline", "realtime")),
    "vp9": ("webm", ("libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime")),
    "libdav1d": ("mp4", ("libsvtav1", "-preset", "12", "-svtav1-params", "lp=1")),
    "mpeg4": ("avi", ("mpeg4",)),
    "mpeg2video": ("mpg", ("mpeg2video",)),
    "mpeg1video": ("mpg", ("mpeg1video",)),
    "mjpeg": ("avi", ("mjpeg", "-pix_fmt", "yuvj420p")),
    "h263": ("3gp", ("h263", "-s", "176x144")),
    "flv": ("flv", ("flv",)),
    "msmpeg4v2": ("avi", ("msmpeg4v2",)),
    "msmpeg4": ("avi", ("msmpeg4",)),
    "wmv1": ("asf", ("wmv1",)),
    "wmv2": ("asf", ("wmv2",)),
    "theora": ("ogv", ("libtheora",)),
    "prores": ("mov", ("prores",)),
    "rawvideo": ("avi", ("rawvideo", "-pix_fmt", "yuv420p")),
    "png": ("mov", ("png",)),
}
AUDIO = {
    "aac": ("mp4", ("aac",)),
    "mp3float": ("mp4", ("libmp3lame",)),
    "mp2": ("mpg", ("mp2",)),
    "opus": ("mkv", ("libopus",)),
    "vorbis": ("mkv", ("libvorbis",)),
    "flac": ("mkv", ("flac",)),
    "alac": ("mp4", ("alac",)),
    "ac3": ("mp4", ("ac3",)),
    "eac3": ("mp4", ("eac3",)),
    "wmav1": ("asf", ("wmav1",)),
    "wmav2": ("asf", ("wmav2",)),
    "amrnb": ("3gp", ("libopencore_amrnb", "-ar", "8000", "-ac", "1")),
    "adpcm_ms": ("avi", ("adpcm_ms",)),
    "adpcm_ima_wav": ("avi", ("adpcm_ima_wav",)),
    "adpcm_ima_qt": ("mov", ("adpcm_ima_qt",)),
    "adpcm_swf": ("flv", ("adpcm_swf", "-ac", "1")),
    **{name: ("mov", (name,)) for name in (
        "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be",
        "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_u8", "pcm_s8", "pcm_mulaw", "pcm_alaw",
    )},
}  # fmt: skip
# No encoder here: variants of others (av1 by libdav1d) and codecs of old or mobile files.
NOT_ENCODED = {
    "av1", "h263i", "msmpeg4v1", "wmv3", "vc1", "aac_latm", "mp3", "mp2float", "libopus",
    "libvorbis", "amrwb", "libopencore_amrnb", "libopencore_amrwb",
}  # fmt: skip


def encoded(path, video, audio, seconds=3.0):
    return make_clip(
        path, seconds=seconds, size="64x64", extra=("-strict", "-2"),
        video=("-c:v", *video), audio=("-c:a", *audio),
    )  # fmt: skip


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_codec_that_is_not_allowed_is_refused_by_name(tmp_path, name, decoder):
    if decoder == "decord":
        pytest.importorskip("decord")
    suffix, video, audio = FORBIDDEN[name]
    path = encoded(tmp_path / f"a.{suffix}", video, audio)
    result = extract_clip(source(path, duration_s=3.0), STELLA if decoder == "pyav" else DECORD)
    assert result.verdict is Verdict.UNDECODABLE
    kind = "video" if audio[0] in ("aac", "pcm_s16le") else "audio"
    assert result.detail == f"{kind} codec '{name}' is not one of the allowed codecs"
    assert not result.members


@pytest.mark.parametrize("name", FORBIDDEN)
def test_no_decoder_of_an_open_container_runs_a_forbidden_codec(tmp_path, name):
    suffix, video, audio = FORBIDDEN[name]
    path = encoded(tmp_path / f"a.{suffix}", video, audio, 1.0)
    for source_of in (str(path), path.read_bytes()):
        with open_foreign(source_of) as container:
            refused = next(s for s in container.streams if decoder_name(s) == name)
            with pytest.raises(av.error.ArgumentError, match=f'avcodec_open2."{name}"'):
                next(container.decode(refused))


def test_decord_gets_no_file_with_a_forbidden_second_video_stream(tmp_path):
    """decord selects its video stream itself."""
    pytest.importorskip("decord")
    both = tmp_path / "both.mkv"
    good = encoded(tmp_path / "good.mkv", X264, ("aac",))
    bad = encoded(tmp_path / "bad.mkv", ("ffv1",), ("aac",))
    ffmpeg("-i", good, "-i", bad, "-map", "0", "-map", "1:v", "-c", "copy", both)
    result = extract_clip(source(both, duration_s=3.0), DECORD)
    assert result.verdict is Verdict.UNDECODABLE
    assert "video codec 'ffv1'" in result.detail


@pytest.mark.parametrize("name", VIDEO)
def test_every_allowed_video_codec_decodes(tmp_path, name):
    suffix, video = VIDEO[name]
    sound = {"webm": "libopus", "ogv": "libvorbis", "mpg": "mp2", "asf": "wmav2"}
    sample_rate = ("-ar", "8000", "-ac", "1") if suffix == "3gp" else ()
    audio = (sound.get(suffix, "libmp3lame" if suffix == "flv" else "aac"), *sample_rate)
    path = encoded(tmp_path / f"a.{suffix}", video, audio)
    with open_foreign(str(path)) as container:
        assert decoder_name(container.streams.video[0]) == name
    result = extract_clip(source(path, duration_s=2.0), STELLA)
    assert result.verdict is None, result.detail
    assert len(result.members) == 82


@pytest.mark.parametrize("name", AUDIO)
def test_every_allowed_audio_codec_decodes(tmp_path, name):
    suffix, audio = AUDIO[name]
    video = ("h263", "-s", "176x144") if suffix == "3gp" else X264
    video = {"asf": ("wmv2",), "mpg": ("mpeg2video",), "flv": ("flv",)}.get(suffix, video)
    rate = ("-ar", "22050") if "adpcm" in name else ()
    path = encoded(tmp_path / f"a.{suffix}", video, (*audio, *rate))
    with open_foreign(str(path)) as container:
        assert decoder_name(container.streams.audio[0]) == name
    result = extract_clip(source(path, duration_s=2.0), STELLA)
    assert result.verdict is None, result.detail


def test_every_allowed_codec_is_tried_or_cannot_be_encoded():
    assert set(FOREIGN.decoders.split(",")) == {*VIDEO, *AUDIO, *NOT_ENCODED}
