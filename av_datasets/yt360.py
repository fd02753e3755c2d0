"""YT-360: 88,754 clips of 10 s of 5,506 panoramic YouTube videos with ambisonic sound.

Source: Morgado, Li, Vasconcelos, "Learning Representations from Audio-Visual Spatial Alignment",
NeurIPS 2020.
Published as: `segments.txt` (5,723 rows `<youtube id> <start>,<start>,…`, whole seconds in the
video), and the ids of the splits, `train.txt` (4,506 videos, 73,635 clips) and `test.txt` (1,000;
15,119). A clip is `<id>-<start>`; clips of a video do not overlap. There are no labels. Half of the
videos have at most 9 clips, one has 2,242: draw by video (`GroupOrder`).
Media: pictures of 360 degrees, 2:1, with first-order ambisonics (W, Y, Z, X). From YouTube, the
format with 2:1 pictures and ambisonic sound is selected; where there is none, the clip is rejected
by name (`wrong_projection`, `wrong_channels`). Many videos are offered as cube maps only: for
these, copy the recipe with `source_projection = "eac"`. The authors' code keeps pictures and sound
apart (`video/<id>-<start>.mp4`, `audio/<id>-<start>.m4a`); join them first, as a clip is one file.
Licence: none stated for the annotations; the videos belong to their uploaders.
Known defects: 217 videos of `segments.txt` (2,422 clips) are in neither split; each is reported as
a bad row, and its clips are left out.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from avstore.datasets.lines import Line, RowError, parse_rows, require_paths, require_usable
from avstore.datasets.spec import (
    AnnotationError,
    Annotations,
    BadRow,
    Clip,
    DatasetSpec,
    Label,
    MediaName,
)
from avstore.datasets.youtube import clip_names, require_id, whole_second

CLIP_SECONDS = 10.0
_SEGMENTS = "rows '<youtube id> <start>,<start>,…'"
_IDS = "one youtube id a row"
_UNASSIGNED = "unassigned"
_COMMIT = "817a8cf967a88c1ebb9ef13b21cc3e887e8c45d6"

# yt-dlp writes YouTube's projectionType and spatialAudioType into format_note: "equi" for
# equirectangular pictures, "mesh" for cube maps; "ambisonics_quad" (four channels),
# "ambisonics_5_1" and "foa_with_non_diegetic" (six). First come pictures of at most 800 lines, as
# the recipe stores 512, and Opus, whose channels keep their order. The alternatives without 2:1 or
# ambisonics give files that the recipe rejects by name.
_PANORAMA = "[aspect_ratio>=1.98][aspect_ratio<=2.02][format_note!*=?mesh]"
FORMAT = (
    f"(bv{_PANORAMA}[height<=800]/bv{_PANORAMA}/bv[height<=800]/bv)"
    "+(ba[format_note*=ambisonics_quad][acodec^=opus]/ba[format_note*=ambisonics_quad]"
    "/ba[format_note*=foa_with_non_diegetic]/ba[format_note*=ambisonics]/ba[audio_channels=4]/wa)"
    "/w"
)


def vocabulary() -> tuple[Label, ...]:
    """Return no label: YT-360 has none."""
    return ()


def parse(paths: Sequence[Path]) -> Annotations:
    """Read the segments, and the splits of their videos from lists named train and test.

    Without a list, every clip has the split `unassigned`.

    Raises:
        AnnotationError: A file cannot be read or has no usable row, or there are only lists.
    """
    require_paths(paths, _SEGMENTS)
    tables = [path for path in paths if _split(path) is None]
    if not tables:
        raise AnnotationError(f"annotation file {paths[0]} has ids only; pass segments.txt as well")
    bad: list[BadRow] = []
    videos = _videos(tables, bad)
    lists = [path for path in paths if path not in tables]
    splits = _splits(lists, {name for name, *_ in videos}, bad)
    clips: list[Clip] = []
    for name, starts, line in videos:
        split = splits.get(name, None if lists else _UNASSIGNED)
        if split:
            clips += (_clip(name, start, split) for start in starts)
        else:
            listed = " and ".join(path.name for path in lists)
            count = f"{len(starts)} segment{'s' * (len(starts) > 1)}"
            bad.append(line.bad(f"id {name!r} is not in {listed}: {count} left out"))
    return Annotations(clips, bad)


def _split(path: Path) -> str | None:
    match = re.match(r"(train|test)", path.stem.lower())
    return match[1] if match else None


def _videos(paths: Sequence[Path], bad: list[BadRow]) -> list[tuple[str, list[int], Line]]:
    """Return each video's id and starts with its row, in file order."""
    videos: dict[str, tuple[str, list[int], Line]] = {}
    for path in paths:
        usable = 0
        for row in parse_rows(path, _segments):
            if isinstance(row, BadRow):
                bad.append(row)
                continue
            usable += 1
            (name, starts), line = row
            *_, first = videos.setdefault(name, (name, starts, line))
            if first is not line:
                bad.append(line.bad(f"duplicate of {name!r} in row {first.row} of {first.file}"))
        require_usable(path, usable, bad, _SEGMENTS)
    return list(videos.values())


def _segments(line: Line) -> tuple[str, list[int]]:
    words = line.text.split()
    if len(words) != 2:
        raise RowError(f"{len(words)} columns; expected {_SEGMENTS}")
    name, starts = require_id(words[0]), [whole_second(text) for text in words[1].split(",")]
    for before, after in pairwise(starts):
        if after <= before:
            raise RowError(f"start {after} after {before}; expected increasing seconds")
    return name, starts


def _splits(paths: Sequence[Path], known: set[str], bad: list[BadRow]) -> dict[str, str]:
    """Return the split of each listed id; an id without segments goes to `bad`."""
    found: dict[str, tuple[str, Line]] = {}
    for path in paths:
        usable = 0
        for row in parse_rows(path, lambda line: require_id(line.text.strip())):
            if isinstance(row, BadRow):
                bad.append(row)
                continue
            usable += 1
            name, line = row
            _, first = found.setdefault(name, (str(_split(path)), line))
            if first is not line:
                bad.append(line.bad(f"duplicate of {name!r} in row {first.row} of {first.file}"))
            elif name not in known:
                bad.append(line.bad(f"id {name!r} has no segments"))
        require_usable(path, usable, bad, _IDS)
    return {name: split for name, (split, _) in found.items()}


def _clip(name: str, start: int, split: str) -> Clip:
    return Clip(
        dataset="yt360",
        key=f"{name}-{start}",
        source_id=name,
        start_s=float(start),
        end_s=start + CLIP_SECONDS,
        split=split,
    )


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """Return the file stems in use for a clip: `<id>-<start>`, then those of YouTube clips."""
    start = clip.start_s or 0.0
    cut = clip_names(clip.source_id, start, start + CLIP_SECONDS)
    return (MediaName(clip.key), *cut)


YT360 = DatasetSpec(
    name="yt360",
    title="YT-360",
    version="2020",
    licence="annotations without a licence; videos belong to their uploaders",
    homepage="https://github.com/pedro-morgado/AVSpatialAlignment",
    annotation_urls=tuple(
        "https://raw.githubusercontent.com/pedro-morgado/AVSpatialAlignment/"
        f"{_COMMIT}/datasets/assets/yt360/{name}.txt"
        for name in ("segments", "train", "test")
    ),
    parse=parse,
    vocabulary=vocabulary,
    media_names=media_names,
    clip_seconds=CLIP_SECONDS,
    recipe="avsa",
    streams=("yt360",),
    ytdlp_format=FORMAT,
    training="avsa_avc",
)
