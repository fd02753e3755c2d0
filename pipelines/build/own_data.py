"""Prepare a user's own data for a build: list a folder, cut whole videos, find a stored dataset."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from avstore.datasets import registry
from avstore.datasets.clips import ArrowClips
from avstore.datasets.own_data import (
    RECIPE,
    OwnList,
    OwnRow,
    label_ids,
    make_clips,
    own_spec,
    read_list,
    safe_name,
    with_times,
    youtube_id,
)
from avstore.datasets.spec import AnnotationError, Annotations, BadRow, DatasetSpec, check_key
from avstore.manifests.annotation_sets import AnnotationSet, load_annotation_set
from avstore.manifests.path_text import path_text, text_path, valid_text, valid_value
from avstore.manifests.redact import redact
from avstore.manifests.store import Store, committing
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.extract.sandbox import Sandbox
from avstore.pipelines.fetch.folder import index_folder
from avstore.pipelines.fetch.web import URLS, YOUTUBE

_SPLITS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}


@dataclass(frozen=True)
class OwnOptions:
    """How to take a user's own data.

    Attributes:
        name: Name of the dataset; None makes it from the list's or the folder's name.
        source: Where the files are; None for the list's folder.
        label_folders: Whether the folder of a file is its label.
        cut_s: Length of the clips that whole videos are cut into, in seconds; None does not cut.
        stride_s: Seconds from the start of one clip to that of the next; None for `cut_s`.
    """

    name: str | None = None
    source: str | None = None
    label_folders: bool = False
    cut_s: float | None = None
    stride_s: float | None = None


@dataclass(frozen=True)
class OwnData:
    """A dataset that is ready to build.

    Attributes:
        spec: Its description.
        source: Where its media come from.
        annotations: The list of its clips in the store.
        unknown: Columns that are kept in `extra`.
    """

    spec: DatasetSpec
    source: str
    annotations: tuple[Path, ...]
    unknown: Sequence[str] = ()


def open_own_data(
    place: Path,
    options: OwnOptions,
    store: Store,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> OwnData:
    """Read a list or a folder, and write the list of its clips to the store.

    Args:
        place: The list or the folder.
        options: How to take it.
        store: The store that will be built.
        progress: Called with (files probed, files) while lengths are read.

    Raises:
        AnnotationError: The list or an option cannot be used.
        SourceError: The folder cannot be read, or holds no media.
    """
    name = options.name or safe_name(place.absolute().name.partition(".")[0] or "videos")
    _check_name(name, options.name is not None)
    if place.is_dir():
        listed, root = list_folder(place, options.label_folders), str(place.absolute())
        if options.source:
            raise AnnotationError(f"{place} is the folder of the videos; --source is not needed")
    else:
        if options.label_folders:
            raise AnnotationError(f"--labels folders needs a folder; {place} has a column labels")
        listed = _recordable(read_list(place))
        root = options.source or str(place.absolute().parent)
    source = _web_source(listed) if listed.on_web else root
    if options.cut_s is not None:
        listed = cut_videos(listed, root, options, store.root / "annotations" / name, progress)
    known = stored_labels(store, name)
    clips = _without_secrets(make_clips(name, listed, known))
    if not clips.clips:
        raise AnnotationError(f"{place} has no usable clip; row {clips.bad_rows[0].row}: "
                              f"{clips.bad_rows[0].reason}")  # fmt: skip
    record = {"list": path_text(place.absolute()), "source": path_text(source)}
    spec = own_spec(name, clips, label_ids(listed, known), record)
    return OwnData(spec, source, (_save_list(store, spec, clips),), listed.unknown)


def _without_secrets(clips: Annotations) -> Annotations:
    """Hide the secrets of addresses in all but `extra.url`, from which clips are fetched."""
    return replace(
        clips,
        clips=[replace(clip, source_id=_redacted(clip.source_id)) for clip in clips.clips],
        bad_rows=[
            replace(bad, reason=redact(bad.reason), text=redact(bad.text)) for bad in clips.bad_rows
        ],
    )


def _redacted(source_id: str) -> str:
    """Return the id of a video; the address that serves as one without its secrets."""
    return redact(source_id) if "://" in source_id else source_id


def list_folder(folder: Path, label_folders: bool) -> OwnList:
    """Return the media files of a folder as a list.

    A folder named train, val or test (valid, validation and dev are val) gives the split. A file
    of sound alone is one of them, but not beside a video of its name. Folders and media files that
    cannot be used are bad rows.

    Args:
        folder: The folder.
        label_folders: Whether a file's own folder is its label.

    Raises:
        SourceError: The folder cannot be read, or holds no media file.
    """
    rows = []
    index = index_folder(folder)
    videos = {path.rpartition(".")[0] for path, _ in index.files}
    # Sound beside a video of its name belongs to that; other sound is a clip of its own.
    alone = [entry for entry in index.sounds if entry[0].rpartition(".")[0] not in videos]
    for number, (path, _) in enumerate(sorted([*index.files, *alone]), start=1):
        parents = PurePosixPath(path).parts[:-1]
        split = next((_SPLITS[p.lower()] for p in parents if p.lower() in _SPLITS), "train")
        last = parents[-1] if parents else ""
        labels = (last,) if label_folders and last and last.lower() not in _SPLITS else ()
        rows.append(
            OwnRow(number, path_text(path), None, None, None, labels, split, (), None, None, {})
        )
    bad = [
        BadRow(str(folder), number, f"{path}: {reason}", path)
        for number, (path, reason) in enumerate(index.skipped, start=1 + len(rows))
    ]
    return _recordable(OwnList(folder, rows, bad))


def _recordable(listed: OwnList) -> OwnList:
    """Return a list with texts that can be recorded; those of JSON may have lone surrogates."""
    rows = [
        replace(
            row,
            file=row.file and valid_text(row.file),
            url=row.url and valid_text(row.url),
            source_id=row.source_id and valid_text(row.source_id),
            labels=tuple(map(valid_text, row.labels)),
            captions=tuple(map(valid_text, row.captions)),
            extra=valid_value(dict(row.extra)),
        )
        for row in listed.rows
    ]
    bad = [
        replace(
            bad,
            file=path_text(bad.file),
            reason=valid_text(bad.reason),
            text=valid_text(bad.text),
        )
        for bad in listed.bad_rows
    ]
    return replace(listed, path=Path(path_text(listed.path)), rows=rows, bad_rows=bad)


def _media_path(root: str, row: OwnRow) -> str:
    return str(Path(root) / text_path(str(row.file)))


def cut_videos(
    listed: OwnList,
    root: str,
    options: OwnOptions,
    cache: Path,
    progress: Callable[[int, int], None],
) -> OwnList:
    """Cut every row without start and end into clips of `cut_s` seconds.

    The last piece is kept, shorter, if it has at least half of `cut_s`; a video that is shorter
    than `cut_s` is one clip.

    Args:
        listed: The rows.
        root: The folder of the files.
        options: The lengths.
        cache: Folder in which the probed lengths are kept.
        progress: Called with (files probed, files).

    Raises:
        AnnotationError: A length is not positive, or the media are not in a folder.
    """
    cut, stride = options.cut_s or 0.0, options.stride_s or options.cut_s or 0.0
    if not (cut > 0 and stride > 0):
        raise AnnotationError(f"--cut {cut:g} and --stride {stride:g} must be more than 0 seconds")
    if listed.on_web or "://" in root or not Path(root).is_dir():
        raise AnnotationError(
            "--cut needs local files, because it reads their lengths; give start and end of each "
            "clip in the list instead"
        )
    whole = [r for r in listed.rows if r.start_s is None and r.end_s is None]
    seconds = _Lengths(cache / "lengths.json").read({_media_path(root, row) for row in whole},
                                                    progress)  # fmt: skip
    rows: list[OwnRow] = []
    bad = list(listed.bad_rows)
    for row in listed.rows:
        if row.start_s is not None or row.end_s is not None:
            rows.append(row)
            continue
        length = seconds[_media_path(root, row)]
        if isinstance(length, str):
            reason = f"its length cannot be read: {length}"
            bad.append(BadRow(str(listed.path), row.row, reason, str(row.file)))
            continue
        rows.extend(with_times(row, a, b) for a, b in pieces(length, cut, stride))
    return replace(listed, rows=rows, bad_rows=bad)


def pieces(length_s: float, cut_s: float, stride_s: float) -> Iterator[tuple[float, float]]:
    """Yield the (start, end) of the clips that a video is cut into, to a millisecond.

    Args:
        length_s: Length of the video in seconds.
        cut_s: Length of a clip.
        stride_s: From the start of one clip to the next.
    """
    start, number = 0.0, 0
    while number == 0 or length_s - start >= cut_s / 2:
        end = min(start + cut_s, length_s)
        yield round(start, 3), round(end, 3)
        number += 1
        start = number * stride_s
        if end >= length_s:
            return


def stored_spec(store: Store, name: str) -> DatasetSpec | None:
    """Return a user's own dataset that the store holds, from its ledger; None if it holds none."""
    found = _stored(store, name)
    if found is None:
        return None
    clips = Annotations(ArrowClips(found.clips), table=found.clips)
    return own_spec(name, clips, _labels(found), found.facts["own_data"])


def stored_labels(store: Store, name: str) -> list[str]:
    """Return the labels of a user's own dataset in the order of their ids; [] if it is new."""
    found = _stored(store, name)
    return [] if found is None else _labels(found)


def _stored(store: Store, name: str) -> AnnotationSet | None:
    found = None if check_key(name) else load_annotation_set(store, name)
    return found if found is not None and found.facts.get("own_data") else None


def _labels(found: AnnotationSet) -> list[str]:
    rows = sorted(found.labels.to_pylist(), key=lambda row: row["label_id"])
    return [row["label"] for row in rows]


def _check_name(name: str, given: bool) -> None:
    if safe_name(name) != name:
        raise AnnotationError(
            f"--name '{valid_text(name)}' may contain only letters, digits, '-' and '_', for "
            f"example --name {safe_name(name)}"
        )
    if name in registry.names():
        what = f"--name {name}" if given else f"the name {name!r}"
        raise AnnotationError(f"{what} is that of a published dataset; choose another with --name")


def _web_source(listed: OwnList) -> str:
    """Return the site of the addresses: YouTube's limits hold if all are YouTube's."""
    all_youtube = all(youtube_id(row.url or "") and not row.source_id for row in listed.rows)
    return YOUTUBE.name if all_youtube else URLS.name


def _save_list(store: Store, spec: DatasetSpec, clips: Annotations) -> Path:
    """Write the clips to STORE/annotations/<name>/clips.jsonl; its hash shows what changed."""
    path = store.root / "annotations" / spec.name / "clips.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines: list[Mapping[str, Any]] = [dict(spec.own_data or {})]
    lines += [asdict(clip) for clip in clips.clips]
    lines += [asdict(bad) for bad in clips.bad_rows]
    text = "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in lines)
    with committing(path) as file:
        file.write(text.encode())
    return path


class _Lengths:
    """Lengths of media files, kept by path, size and time of change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            self._known = {}

    def read(self, files: set[str], progress: Callable[[int, int], None]) -> dict[str, float | str]:
        """Return the length of each file in seconds, or why it has none."""
        found: dict[str, float | str] = {}
        with Sandbox(load_recipe(RECIPE)) as sandbox:
            for number, file in enumerate(sorted(files), start=1):
                found[file] = self._length(sandbox, file)
                progress(number, len(files))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with committing(self._path) as target:
            target.write(json.dumps(self._known, indent=0).encode())
        return found

    def _length(self, sandbox: Sandbox, file: str) -> float | str:
        try:
            facts = Path(file).stat()
        except OSError as error:
            return error.strerror or str(error)
        state = [facts.st_size, facts.st_mtime_ns]
        known = self._known.get(file)
        if isinstance(known, list) and known[:2] == state:
            return float(known[2])
        seconds = sandbox.probe(file)
        if isinstance(seconds, float):
            self._known[file] = [*state, seconds]
        return seconds
