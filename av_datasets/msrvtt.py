"""MSR-VTT: 10,000 YouTube clips of 10 to 30 s, each with 20 captions and one of 20 categories.

Source: Xu, Mei, Yao, Rui, "MSR-VTT: A Large Video Description Dataset for Bridging Video and
Language", CVPR 2016.
Published as: `train_val_videodatainfo.json` and `test_videodatainfo.json` (lists `videos` and
`sentences`). Copies come as `MSR_VTT.json` (a list `annotations` of image_id and caption), with
lists of the splits in use: `MSRVTT_JSFUSION_test.csv` (the 1k-A test set, 1,000 rows of a video and
its one query sentence), its training lists `MSRVTT_train.9k.csv` (9,000) and `MSRVTT_train.7k.csv`
(7,010), and `train_list_full.txt` (6,513), `test_list_full.txt` (2,990).

Splits: the official ones, by number: video0 to video6512 train (6,513), to video7009 val (497), to
video9999 test (2,990). Every list is a subset: 1ka_test, train_9k, train_7k. train_9k contains
1,990 videos of the official test split, so select by subset or by split and never by both.
Licence: research use; the videos belong to their uploaders.
Known defects: about a tenth of the clips have no sound; several clips come from one video, also
across splits (view `shared_sources`); many videos are no longer on YouTube, so an archive copy is
in general use.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avstore.datasets.lines import (
    Line,
    RowError,
    fields_of,
    parse_rows,
    read_bytes,
    require_paths,
    require_usable,
)
from avstore.datasets.spec import (
    AnnotationError,
    Annotations,
    BadRow,
    Clip,
    DatasetSpec,
    Label,
    MediaName,
)
from avstore.datasets.vocabulary import load_vocabulary

_EXPECTED = "a videodatainfo.json, MSR_VTT.json, or a list of video ids"
_VIDEO = re.compile(r"video([0-9]{1,4})")
_URL_ID = re.compile(r"(?:[?&]v=|youtu\.be/)([A-Za-z0-9_-]{1,64})")
_SPLITS = ((6_513, "train"), (7_010, "val"), (10_000, "test"))
_LISTS = {"jsfusion": "1ka_test", "9k": "train_9k", "7k": "train_7k"}


@dataclass
class _Video:
    """The facts about one video, collected from all files."""

    number: int
    captions: list[str] = field(default_factory=list)
    subsets: set[str] = field(default_factory=set)
    category: int | None = None
    youtube_id: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    query: str | None = None


@dataclass
class _Videos:
    """The videos by name, and the bad rows."""

    by_name: dict[str, _Video] = field(default_factory=dict)
    bad: list[BadRow] = field(default_factory=list)

    def get(self, name: object) -> _Video:
        """Return the video of this name, created if new; RowError if it is no video id."""
        match = _VIDEO.fullmatch(str(name))
        if not match:
            raise RowError(f"video id {name!r} is not 'video0' to 'video9999'")
        return self.by_name.setdefault(f"video{int(match[1])}", _Video(int(match[1])))


def vocabulary() -> tuple[Label, ...]:
    """Return the 20 categories, by published number."""
    return load_vocabulary("msrvtt_classes.csv")


def parse(paths: Sequence[Path]) -> Annotations:
    """Read MSR-VTT's files in any combination; each adds its facts about a video.

    The row number of a bad row in a JSON file is the position of the entry in its list, from 1.

    Raises:
        AnnotationError: A file cannot be read or has no usable row.
    """
    require_paths(paths, _EXPECTED)
    videos = _Videos()
    for path in paths:
        usable = _read_json(path, videos) if path.suffix == ".json" else _read_list(path, videos)
        require_usable(path, usable, videos.bad, _EXPECTED)
    by_number = sorted(videos.by_name.items(), key=lambda item: item[1].number)
    return Annotations([_clip(name, video) for name, video in by_number], videos.bad)


def _read_json(path: Path, videos: _Videos) -> int:
    try:
        data = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise AnnotationError(
            f"annotation file {path} is not JSON ({error}); it may be truncated: download it again"
        ) from error
    readers = {"videos": _add_video, "sentences": _add_sentence, "annotations": _add_annotation}
    if not isinstance(data, dict) or not readers.keys() & data.keys():
        raise AnnotationError(f"annotation file {path} has none of the lists {', '.join(readers)}")
    usable = 0
    for name, add in readers.items():
        for number, entry in enumerate(data.get(name) or [], start=1):
            try:
                if not isinstance(entry, dict):
                    raise RowError("not an object")
                add(videos, entry)
                usable += 1
            except RowError as error:
                text = json.dumps(entry, ensure_ascii=False)[:200]
                videos.bad.append(BadRow(f"{path}:{name}", number, str(error), text))
    return usable


def _add_video(videos: _Videos, entry: dict[str, Any]) -> None:
    category, start, end = (entry.get(key) for key in ("category", "start time", "end time"))
    if category is not None and not (isinstance(category, int) and 0 <= category < 20):
        raise RowError(f"category {category!r} is not a number from 0 to 19")
    if (start, end) != (None, None) and not _is_span(start, end):
        raise RowError(
            f"start time {start!r} and end time {end!r} are not 0 <= start < end in seconds"
        )
    video = videos.get(entry.get("video_id"))
    address = _URL_ID.search(str(entry.get("url", "")))
    video.category = category
    if address:
        video.youtube_id, video.start_s, video.end_s = address[1], start, end


def _is_span(start: object, end: object) -> bool:
    numbers = isinstance(start, int | float) and isinstance(end, int | float)
    return numbers and 0 <= start < end < 1e6  # type: ignore[operator]


def _add_sentence(videos: _Videos, entry: dict[str, Any]) -> None:
    _add_caption(videos, entry.get("video_id"), entry.get("caption"))


def _add_annotation(videos: _Videos, entry: dict[str, Any]) -> None:
    _add_caption(videos, entry.get("image_id"), entry.get("caption"))


def _add_caption(videos: _Videos, name: object, caption: object) -> None:
    if not isinstance(caption, str) or not caption.strip():
        raise RowError(f"caption {caption!r} is not a text")
    videos.get(name).captions.append(caption.strip())


def _read_list(path: Path, videos: _Videos) -> int:
    """Read a list of ids: one column, or the 1k-A columns key, vid_key, video_id, sentence."""
    subset = next((name for part, name in _LISTS.items() if part in path.name.lower()), None)
    usable = 0
    seen: dict[str, int] = {}
    for row in parse_rows(path, _list_row):
        if isinstance(row, BadRow):
            videos.bad.append(row)
            continue
        (name, sentence), line = row
        if name in seen:
            videos.bad.append(line.bad(f"duplicate of {name} in row {seen[name]}"))
            continue
        seen[name] = line.row
        usable += 1
        video = videos.get(name)
        if subset:
            video.subsets.add(subset)
        if sentence:
            video.query = sentence
    return usable


def _list_row(line: Line) -> tuple[str, str | None] | None:
    row = fields_of(line)
    if line.row == 1 and "video_id" in row:
        return None
    if len(row) not in {1, 4}:
        raise RowError(f"{len(row)} columns; expected 1 (video id) or 4 (1k-A test list)")
    name = row[0] if len(row) == 1 else row[2]
    if not _VIDEO.fullmatch(name):
        raise RowError(f"video id {name!r} is not 'video0' to 'video9999'")
    return name, row[3] if len(row) == 4 else None


def _clip(name: str, video: _Video) -> Clip:
    label = vocabulary()[video.category] if video.category is not None else None
    captions = video.captions or ([video.query] if video.query else [])
    return Clip(
        dataset="msrvtt",
        key=name,
        source_id=video.youtube_id or name,
        start_s=video.start_s,
        end_s=video.end_s,
        split=next(split for last, split in _SPLITS if video.number < last),
        subsets=tuple(sorted(video.subsets)),
        labels=(label.label,) if label else (),
        label_ids=(label.label_id,) if label else (),
        category=label.label if label else None,
        captions=tuple(captions),
        extra={"query": video.query} if video.query else {},
    )


def media_names(clip: Clip) -> tuple[MediaName, ...]:
    """Return the stem in the archive, a cut clip; then the YouTube video, if its id is known."""
    names = (MediaName(clip.key),)
    if clip.source_id == clip.key:
        return names
    return (*names, MediaName(clip.source_id, whole_video=True))


MSRVTT = DatasetSpec(
    name="msrvtt",
    title="MSR-VTT",
    version="2016",
    licence="research use; videos belong to their uploaders",
    homepage="https://www.microsoft.com/en-us/research/publication/msr-vtt-a-large-video-description-dataset-for-bridging-video-and-language/",
    annotation_urls=(),
    parse=parse,
    vocabulary=vocabulary,
    media_names=media_names,
    recipe="ave",
    streams=("msrvtt",),
)
