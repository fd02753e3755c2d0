"""Folders of frames and audio as the published code lays them out, and their audio formats."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError
from avstore.pipelines.interchange.export_clips import ExportClip

AUDIO = {"flac": "flac", "wav": "pcm_s16le", "mp3": "libmp3lame"}
_CAVMAE_FRAMES = 10
_BATCH = 32


@dataclass(frozen=True)
class Layout:
    """Where a clip's frames and audio lie, relative to the export's folder.

    stella: <dataset>/data/frames/<clip>/frame_<i>.jpg and <dataset>/data/audio/<clip>.mp3, clip
    named in milliseconds, all frames. cavmae (and uavm): frame_<i>/<clip>.jpg, ten frames evenly of
    those stored, and audio/<clip>.flac. llp: frames/<id>/<%06d from 1>.jpg and audio/<id>.wav.
    """

    kind: str
    audio: str

    def name(self, clip: ExportClip) -> str:
        if self.kind == "stella":
            return clip.milliseconds
        if self.kind == "llp" or (self.kind == "cavmae" and clip.dataset == "audioset"):
            return clip.source_id
        return clip.key

    def frames(self, clip: ExportClip) -> str:
        """The folder of a clip's frames (stella, llp)."""
        root = f"{clip.dataset}/data/frames" if self.kind == "stella" else "frames"
        return f"{root}/{self.name(clip)}"

    def audio_path(self, clip: ExportClip) -> str:
        root = f"{clip.dataset}/data/audio" if self.kind == "stella" else "audio"
        return f"{root}/{self.name(clip)}.{self.audio}"

    def frame_paths(self, clip: ExportClip, stored: int) -> Iterator[tuple[int, str]]:
        """(number of the stored frame, where it goes)."""
        if self.kind == "cavmae":
            for i in range(_CAVMAE_FRAMES):
                yield i * stored // _CAVMAE_FRAMES, f"frame_{i}/{self.name(clip)}.jpg"
            return
        for i in range(stored):
            file = f"frame_{i}.jpg" if self.kind == "stella" else f"{i + 1:06d}.jpg"
            yield i, f"{self.frames(clip)}/{file}"


def write_media(
    store: OpenStore,
    clips: Sequence[ExportClip],
    out: Path,
    layout: Layout,
    recipe: str | None = None,
    tell: Callable[[int], None] | None = None,
) -> int:
    """Write every clip's stored frames and audio; how many files. A file that is there stays.

    JPEG bytes are the stored ones. Raises StoreError for a clip that is not stored, and where two
    clips would have one name.
    """
    _require_distinct(clips, layout)
    written = 0
    for start in range(0, len(clips), _BATCH):
        part = clips[start : start + _BATCH]
        ids = [clip.clip_id for clip in part]
        frames, sound = store.read("frames", ids, recipe), store.read("audio", ids, recipe)
        for clip in part:
            pictures = frames[clip.clip_id]
            for number, path in layout.frame_paths(clip, len(pictures)):
                written += _put(out / path, pictures[number])
            target = out / layout.audio_path(clip)
            if not target.is_file():
                written += _put(target, transcode(sound[clip.clip_id], layout.audio))
            if tell:
                tell(1)
    return written


def _require_distinct(clips: Sequence[ExportClip], layout: Layout) -> None:
    seen: dict[str, str] = {}
    for clip in clips:
        name = layout.audio_path(clip)
        if name in seen:
            raise StoreError(f"{seen[name]} and {clip.clip_id} would both be {name}")
        seen[name] = clip.clip_id


def _put(path: Path, content: bytes) -> bool:
    """Whole or not at all; thousands of small files are left to the system to flush."""
    if path.is_file():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.tmp")
    temp.write_bytes(content)
    temp.replace(path)
    return True


def transcode(flac: bytes, extension: str) -> bytes:
    """Stored audio in another format; 16 kHz mono stays 16 kHz mono. Raises StoreError."""
    if extension == "flac":
        return flac
    if extension not in AUDIO:
        raise StoreError(f"audio format {extension!r} is not one of {', '.join(AUDIO)}")
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(flac), format="flac") as source,
        av.open(buffer, "w", format=extension, options={"fflags": "+bitexact"}) as out,
    ):
        stream = out.add_stream(AUDIO[extension], rate=source.streams.audio[0].rate, layout="mono")
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=stream.rate)
        for frame in source.decode(audio=0):
            for part in resampler.resample(frame):
                out.mux(stream.encode(part))
        for part in resampler.resample(None):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return buffer.getvalue()
