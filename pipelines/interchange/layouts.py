"""Write stored frames and audio in the folder layouts that published code reads."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from avstore.manifests.guarded_media import open_stored_audio
from avstore.manifests.library import OpenStore
from avstore.manifests.names import check_name
from avstore.manifests.store import StoreError
from avstore.pipelines.interchange.export_clips import ExportClip

AUDIO_CODECS = {"flac": "flac", "wav": "pcm_s16le", "mp3": "libmp3lame"}
_CAVMAE_FRAMES = 10
_BATCH_CLIPS = 32


@dataclass(frozen=True)
class FolderLayout:
    """The paths of a clip's frames and audio, relative to the export folder.

    Attributes:
        kind: `stella`: <root>/frames/<clip>/frame_<i>.jpg with all frames and
            <root>/audio/<clip>.mp3, where <clip> has milliseconds. `cavmae` (also for
            UAVM): frame_<i>/<clip>.jpg with ten evenly spaced frames, and audio/<clip>.flac.
            `llp`: frames/<id>/<number from 000001>.jpg and audio/<id>.wav.
        audio: Extension of the audio files: flac, wav or mp3.
        root: Folder of a `stella` layout, relative to the export folder; '' for <dataset>/data.
    """

    kind: str
    audio: str
    root: str = ""

    def name(self, clip: ExportClip) -> str:
        """Return the clip's name in file names and lists.

        Raises:
            StoreError: The manifest's name cannot be part of a file name.
        """
        return check_name("key", self._name(clip), "the manifest")

    def _name(self, clip: ExportClip) -> str:
        if self.kind == "stella":
            return clip.milliseconds
        if self.kind == "llp" or (self.kind == "cavmae" and clip.dataset == "audioset"):
            return clip.source_id
        return clip.key

    def frames(self, clip: ExportClip) -> str:
        """Return the folder of a clip's frames (stella, llp)."""
        return f"{self._root(clip)}frames/{self.name(clip)}"

    def audio_path(self, clip: ExportClip) -> str:
        """Return the path of a clip's audio file."""
        return f"{self._root(clip)}audio/{self.name(clip)}.{self.audio}"

    def _root(self, clip: ExportClip) -> str:
        if self.kind != "stella":
            return ""
        return f"{self.root or _dataset(clip) + '/data'}/"

    def frame_paths(self, clip: ExportClip, stored: int) -> Iterator[tuple[int, str]]:
        """Yield (index of the stored frame, path) for a clip with `stored` frames."""
        if self.kind == "cavmae":
            for i in range(_CAVMAE_FRAMES):
                yield i * stored // _CAVMAE_FRAMES, f"frame_{i}/{self.name(clip)}.jpg"
            return
        for i in range(stored):
            file = f"frame_{i}.jpg" if self.kind == "stella" else f"{i + 1:06d}.jpg"
            yield i, f"{self.frames(clip)}/{file}"


def _dataset(clip: ExportClip) -> str:
    return check_name("dataset", clip.dataset, "the manifest")


def write_media(
    store: OpenStore,
    clips: Sequence[ExportClip],
    out: Path,
    layout: FolderLayout,
    recipe: str | None = None,
    on_clip: Callable[[int], None] | None = None,
) -> int:
    """Write the stored frames (unchanged JPEG bytes) and the audio of clips; skip existing files.

    Args:
        store: The store.
        clips: The clips to write.
        out: The export folder.
        layout: Paths and audio format.
        recipe: A recipe name, or <recipe>-<fp8>, if several have the clips.
        on_clip: Called with 1 after each clip.

    Returns:
        The number of files written.

    Raises:
        StoreError: A clip is not stored, or two clips would have the same path.
    """
    _require_distinct(clips, layout)
    written = 0
    for start in range(0, len(clips), _BATCH_CLIPS):
        batch = clips[start : start + _BATCH_CLIPS]
        ids = [clip.clip_id for clip in batch]
        frames, audio = store.read("frames", ids, recipe), store.read("audio", ids, recipe)
        for clip in batch:
            images = frames[clip.clip_id]
            for index, path in layout.frame_paths(clip, len(images)):
                written += write_new(out / path, images[index])
            target = out / layout.audio_path(clip)
            if not target.is_file():
                content = _transcoded(clip, audio[clip.clip_id], layout.audio)
                written += write_new(target, content)
            if on_clip:
                on_clip(1)
    return written


def _require_distinct(clips: Sequence[ExportClip], layout: FolderLayout) -> None:
    seen: dict[str, str] = {}
    for clip in clips:
        path = layout.audio_path(clip)
        if path in seen:
            raise StoreError(
                f"{seen[path]} and {clip.clip_id} would both be written to {path}; export them "
                "separately"
            )
        seen[path] = clip.clip_id


def write_new(path: Path, content: bytes) -> bool:
    """Write a file unless it exists; return whether it was written.

    By rename but without fsync, as there are thousands.
    """
    if path.is_file():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.tmp")
    temp.write_bytes(content)
    temp.replace(path)
    return True


def _transcoded(clip: ExportClip, flac: bytes, extension: str) -> bytes:
    try:
        return transcode(flac, extension)
    except ValueError as error:
        raise StoreError(f"audio of {clip.clip_id}: {error}") from error


def transcode(flac: bytes, extension: str) -> bytes:
    """Return stored audio as flac, wav or mp3, with its rate and channels.

    Raises:
        StoreError: The extension is not one of these.
        ValueError: The audio cannot be decoded, or has more channels than MP3 can hold.
    """
    if extension == "flac":
        return flac
    if extension not in AUDIO_CODECS:
        raise StoreError(f"audio format {extension!r} is not one of {', '.join(AUDIO_CODECS)}")
    with open_stored_audio(flac) as (source, sound):
        rate, frames = sound.rate, [*source.decode(sound)]
    channels = frames[0].layout.nb_channels if frames else 1
    # The frames' own layout: a resampler to another one would mix ambisonic channels.
    layout = {1: "mono", 2: "stereo"}.get(channels) or frames[0].layout.name
    if extension == "mp3" and channels > 2:
        raise ValueError(f"it has {channels} channels, and MP3 holds two: choose wav or flac")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=extension, options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream(AUDIO_CODECS[extension], rate=rate, layout=layout)
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
        for frame in [*frames, None]:
            for part in resampler.resample(frame):
                out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return buffer.getvalue()
