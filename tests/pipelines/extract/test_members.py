"""Test recipes that store only some of frames, moving pictures, waveform and fbank."""

from typing import Any

import pytest

from avstore.manifests.verdicts import Verdict
from avstore.manifests.video_groups import decode_groups, group_range, group_sizes, rgb
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.recipe import load_recipe, parse_recipe
from avstore.pipelines.extract.records import ExtractionResult
from avstore.pipelines.extract.sandbox import Sandbox
from tests.pipelines.extract.media import ffmpeg, make_clip, source
from tests.pipelines.extract.numbered import number_of, write_numbered

FRAMES = {"sampling": "count", "count": 8, "size": 96}
VIDEO = {"rate": 16, "size": 96, "keyframe_every": 16}
SILENT = ("-map", "0:v", "-an")


def recipe(*members: str, **sections: Any):
    settings = {"name": "mine", "title": "Mine", "source": "none", "members": members}
    return parse_recipe(settings | sections)


def full():
    return parse_recipe({"name": "full", "title": "", "source": "", "frames": FRAMES})


def members(result: ExtractionResult) -> dict[str, bytes]:
    assert result.verdict is None, result.detail
    return dict(result.members)


def pictures(result: ExtractionResult, first: int, count: int) -> list[Any]:
    """Return decoded pictures of the stored video, from the bytes of their groups alone."""
    video = result.video
    assert video is not None
    found = group_range(video.gop_offsets, video.gop_frames, first, count)
    content = members(result)["mp4"][found.offset : found.offset + found.size]
    start = first - found.first_group * video.gop_frames
    sizes = group_sizes(video.gop_offsets, found)
    frames = decode_groups(content, sizes, video.codec, start, count, video.gop_frames)
    return [rgb(frame) for frame in frames]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("whole") / "a.mp4", seconds=14.0)


@pytest.mark.parametrize("offset", [0.0, 3.4])
def test_sound_alone_is_the_sound_of_a_full_recipe(clip, offset):
    whole = members(extract_clip(source(clip, offset), full()))
    result = extract_clip(source(clip, offset), recipe("waveform"))
    assert members(result) == {"flac": whole["flac"]}
    assert (result.frame_times, result.fbank_frames, result.duration_s) == ((), 0, 10.0)
    quality = result.quality
    assert quality.audio_covered_fraction == 1.0
    assert quality.video_covered_fraction is quality.still_fraction is None
    bank = extract_clip(source(clip, offset), recipe("fbank"))
    assert members(bank) == {"fbank.npy": whole["fbank.npy"]}


@pytest.mark.parametrize("offset", [0.0, 3.4])
def test_frames_alone_are_the_frames_of_a_full_recipe(clip, offset):
    whole = extract_clip(source(clip, offset), full())
    result = extract_clip(source(clip, offset), recipe("frames", frames=FRAMES))
    jpegs = {name: body for name, body in members(whole).items() if name.endswith("jpg")}
    assert members(result) == jpegs
    assert result.frame_times == whole.frame_times
    assert result.duration_s == 10.0
    assert result.quality.silent_fraction is result.quality.audio_covered_fraction is None


@pytest.mark.parametrize(
    ("name", "encoder"),
    [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.m4a", "aac"), ("a.ogg", "libvorbis"),
     ("a.opus", "libopus"), ("a.mp3", "libmp3lame"), ("a.mka", "ac3")],
)  # fmt: skip
def test_a_file_of_sound_needs_a_recipe_without_pictures(tmp_path, name, encoder):
    path = tmp_path / name
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=12:r=48000", "-c:a", encoder, path)
    assert set(members(extract_clip(source(path, 1.5), recipe("waveform")))) == {"flac"}
    assert extract_clip(source(path), full()).verdict is Verdict.NO_VIDEO


def test_a_file_without_sound_needs_a_recipe_without_sound(clip, tmp_path):
    path = tmp_path / "a.mp4"
    ffmpeg("-i", clip, *SILENT, "-c", "copy", path)
    result = extract_clip(source(path), recipe("frames", frames=FRAMES))
    assert len(members(result)) == 8
    assert extract_clip(source(path), full()).verdict is Verdict.NO_AUDIO


def test_what_is_not_stored_does_not_reject_a_clip(tmp_path):
    path = tmp_path / "a.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=10",
           "-f", "lavfi", "-i", "sine=440:d=4", "-c:a", "pcm_s16le", path)  # fmt: skip
    assert extract_clip(source(path), full()).verdict is Verdict.TRUNCATED
    assert extract_clip(source(path), recipe("waveform")).verdict is Verdict.TRUNCATED
    assert members(extract_clip(source(path), recipe("frames", frames=FRAMES)))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_the_tail_of_a_stream_that_is_not_stored_does_not_count(tmp_path, name):
    path = tmp_path / name
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=2",
           "-f", "lavfi", "-i", "sine=440:d=8", "-c:a", "aac", path)  # fmt: skip
    whole = source(path, 0.0, float("inf"))
    assert extract_clip(whole, full()).verdict is Verdict.TRUNCATED
    result = extract_clip(whole, recipe("video", video=VIDEO))
    assert (result.video.frames, result.duration_s) == (32, pytest.approx(2.0, abs=0.05))


@pytest.mark.parametrize("codec", ["av1", "h264"])
@pytest.mark.parametrize(("offset", "rate"), [(0.0, "25"), (2.6, "25"), (0.0, "30000/1001")])
def test_moving_pictures_are_those_on_screen(tmp_path, codec, offset, rate):
    path = write_numbered(tmp_path / "a.mp4", rate, 8.0, keyframes=30)
    crf = 20 if codec == "h264" else 30
    made = recipe("video", video=VIDEO | {"codec": codec, "crf": crf})
    result = extract_clip(source(path, offset, 5.0), made)
    assert list(members(result)) == ["mp4"]
    assert (result.video.frames, result.video.rate, result.video.codec) == (80, 16.0, codec)
    shown = [number_of(picture) for picture in pictures(result, 0, 80)]
    above, _, below = rate.partition("/")
    step = int(below or 1) / int(above)
    assert shown == [int((offset + i / 16 + 1e-6) / step) for i in range(80)]
    assert [number_of(p) for p in pictures(result, 29, 8)] == shown[29:37]
    assert result.quality.repeated_frames == 0
    assert result.quality.still_fraction == 0.0


def test_a_slow_source_repeats_pictures(tmp_path):
    path = write_numbered(tmp_path / "a.mp4", "8", 4.0)
    result = extract_clip(source(path, 0.0, 4.0), recipe("video", video=VIDEO))
    assert [number_of(p) for p in pictures(result, 0, 64)] == [i // 2 for i in range(64)]
    assert result.quality.repeated_frames == 32


def test_pictures_of_coded_order_are_stored_in_order(tmp_path):
    mpeg4 = ("-c:v", "mpeg4", "-bf", "2", "-q:v", "2")
    path = write_numbered(tmp_path / "a.avi", "25", 5.0, video=mpeg4, keyframes=12)
    result = extract_clip(source(path, 0.0, 4.0), recipe("video", video=VIDEO))
    shown = [number_of(picture) for picture in pictures(result, 0, 64)]
    assert shown == [int(i / 16 * 25 + 1e-6) for i in range(64)]


def test_moving_pictures_beside_the_others(clip):
    whole = members(extract_clip(source(clip), full()))
    made = recipe("frames", "video", "waveform", "fbank", frames=FRAMES, video=VIDEO)
    found = members(extract_clip(source(clip), made))
    assert [name for name in found if not name.endswith("jpg")] == ["fbank.npy", "flac", "mp4"]
    video = found.pop("mp4")
    assert found == whole
    alone = members(extract_clip(source(clip), recipe("video", video=VIDEO)))
    assert alone["mp4"] == video


def test_a_damaged_picture_is_met_again_in_a_full_decode(clip, tmp_path):
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    made = recipe("video", video=VIDEO, quality={"max_decode_errors": 1000})
    result = extract_clip(source(path), made)
    assert result.quality.decode_errors > 0
    assert len(pictures(result, 0, 160)) == 160


def test_a_size_that_changes_within_the_clip_is_rejected(tmp_path):
    parts = []
    for number, size in enumerate(("64x48", "48x64")):
        part = tmp_path / f"{number}.ts"
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration=5", "-c:v",
               "mpeg2video", "-output_ts_offset", str(5 * number), part)  # fmt: skip
        parts.append(part.read_bytes())
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(parts))
    short_side = recipe("video", video={"rate": 16, "size": 32})
    result = extract_clip(source(path), short_side)
    assert result.verdict is Verdict.UNDECODABLE
    assert "the picture's size changes within the clip, from 42 x 32 to 32 x 42" in result.detail
    stretched = {"rate": 16, "fit": "stretch", "width": 32, "height": 32}
    assert members(extract_clip(source(path), recipe("video", video=stretched)))


def test_shipped_recipes_store_what_they_did():
    assert load_recipe("stella").members == ("frames", "waveform", "fbank")


def test_a_long_video_has_the_time_to_be_encoded(tmp_path):
    path = make_clip(tmp_path / "a.mp4", seconds=8.0, size="640x360")
    made = recipe("video", duration_s=8.0, video={"rate": 25, "fit": "native"})
    with Sandbox(made, timeout_s=0.05) as sandbox:  # decoding alone takes longer
        assert members(sandbox.extract(source(path, 0.0, 8.0)))
