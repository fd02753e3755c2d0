"""Pictures and sound of stored clips as a browser takes them, from the shards by ranges."""

import io
import struct

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.guarded_media import UnreadableAudioError, open_stored_audio
from avstore.manifests.npy import load_npy
from avstore.manifests.store import StoreError
from avstore.manifests.stored_audio import decode_stored_audio
from avstore.pipelines.browse.layouts import DamagedError, Layout
from avstore.pipelines.browse.session import Snapshot

TYPES = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "mp4": "video/mp4",
}
"""Members that a browser shows; others are downloads."""
_MOST_FRAMES = 80  # frames of a filmstrip
_JPEG_QUALITY = 85
# Anchors of a colour scale of even lightness steps (viridis'), from low to high.
_COLOURS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


def read_member(snapshot: Snapshot, layout: Layout, suffix: str) -> bytes:
    """Return the content of a member.

    Raises:
        StoreError: The clip has no such member.
        DamagedError: It cannot be read.
    """
    if suffix not in layout.ranges:
        raise StoreError(f"{layout.clip_id} has no member {suffix!r}")
    (content,) = layout.read(snapshot.store.reader, [suffix])
    return bytes(content)


def poster(snapshot: Snapshot, layout: Layout) -> bytes:
    """Return a JPEG of the clip's middle."""
    if layout.frames:
        return read_member(snapshot, layout, layout.frames[len(layout.frames) // 2])
    if not layout.has_video:
        raise StoreError(f"{layout.clip_id} has no pictures")
    import simplejpeg  # noqa: PLC0415 -- for clips without JPEGs alone

    try:
        picture = snapshot.store.pictures(layout.clip_id, layout.pictures // 2, 1, layout.stage)[0]
    except StoreError as error:
        raise DamagedError(str(error)) from error
    step = -(-picture.shape[1] // 512)
    small = np.ascontiguousarray(picture[::step, ::step])
    return bytes(simplejpeg.encode_jpeg(small, quality=_JPEG_QUALITY))


def filmstrip(snapshot: Snapshot, layout: Layout) -> bytes:
    """Return the stored frames as one message: what the browser's player takes.

    It is the number of frames (uint32), for each its time in seconds (float32) and size (uint32),
    and then their JPEGs, all little-endian.
    """
    frames = layout.frames
    step = -(-len(frames) // _MOST_FRAMES) or 1
    chosen = list(range(0, len(frames), step))
    contents = layout.read(snapshot.store.reader, [frames[place] for place in chosen])
    times = layout.frame_times or tuple(range(len(frames)))
    head = struct.pack("<I", len(chosen))
    for place, content in zip(chosen, contents, strict=True):
        head += struct.pack("<fI", times[place], len(content))
    return head + b"".join(contents)


def spectrogram(snapshot: Snapshot, layout: Layout) -> bytes:
    """Return a PNG of the log-mel spectrogram: a column a frame, high frequencies on top."""
    return _png(colours(log_mel_values(snapshot, layout).T[::-1]))


def log_mel_values(snapshot: Snapshot, layout: Layout) -> NDArray[np.float32]:
    """Return the log-mel spectrogram, [frames, mels], scaled from 0 to 1."""
    values = _fbank(snapshot, layout)
    if not values.size:
        raise DamagedError("the sound is empty")
    low, high = np.percentile(values, (2, 99.8))
    scaled = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1)
    return np.asarray(scaled, np.float32)


def _fbank(snapshot: Snapshot, layout: Layout) -> NDArray[np.float32]:
    """Return the log-mel spectrogram, [frames, mels], of values that are all finite."""
    if "fbank.npy" in layout.ranges:
        try:
            values = load_npy(read_member(snapshot, layout, "fbank.npy"))
        except ValueError as error:
            raise DamagedError(f"fbank.npy: {error}") from error
        if values.ndim != 2:
            raise DamagedError(f"fbank.npy: its shape is {values.shape}")
        found = values.astype(np.float32)
    else:
        from avstore.pipelines.extract.fbank import log_mel  # noqa: PLC0415 -- where none is stored
        from avstore.pipelines.extract.recipe_sections import FbankSettings  # noqa: PLC0415

        samples, rate = sound(snapshot, layout)
        loud = np.clip(samples[0] * 32767, -32768, 32767).astype(np.int16)
        found = log_mel(loud, rate, FbankSettings())
    return np.nan_to_num(found, posinf=0.0, neginf=0.0)


def colours(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return RGB [height, width, 3] of values from 0 to 1."""
    places = np.linspace(0, 1, len(_COLOURS))
    table = np.stack(
        [np.interp(np.linspace(0, 1, 256), places, part) for part in zip(*_COLOURS, strict=True)],
        axis=1,
    ).astype(np.uint8)
    return table[(values * 255).astype(np.uint8)]


def _png(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image  # noqa: PLC0415 -- not needed to list clips

    file = io.BytesIO()
    # A palette of 256 colours: a third of the bytes.
    Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE).save(file, "PNG")
    return file.getvalue()


def sound(snapshot: Snapshot, layout: Layout) -> tuple[NDArray[np.float32], int]:
    """Return the stored sound, [channels, samples] in [-1, 1], and its rate in Hz."""
    if layout.sound is None:
        raise StoreError(f"{layout.clip_id} has no sound")
    content = read_member(snapshot, layout, layout.sound)
    try:
        with open_stored_audio(content) as (_, stream):
            channels = int(stream.codec_context.channels)
        samples, rate = decode_stored_audio(content, channels)
    except (UnreadableAudioError, ValueError) as error:
        raise DamagedError(f"{layout.sound}: {error}") from error
    if samples.dtype.kind == "i":
        samples = samples / (np.iinfo(samples.dtype).max + 1.0)
    return np.asarray(samples, np.float32), rate


def stereo_wav(snapshot: Snapshot, layout: Layout) -> bytes:
    """Return the sound as 16-bit WAV: mono, or left and right.

    Of first-order ambisonics (W, Y, Z, X), what cardioid microphones to both sides would record.
    """
    samples, rate = sound(snapshot, layout)
    if len(samples) == 4:
        left, right = samples[0] + samples[1], samples[0] - samples[1]
        samples = np.stack([left, right]) * np.float32(0.5)
    values = np.clip(samples[:2] * 32767, -32768, 32767).astype("<i2")
    content = np.ascontiguousarray(values.T).tobytes()
    return _wav_header(len(values), rate, len(content)) + content


def _wav_header(channels: int, rate: int, size: int) -> bytes:
    """Return the header of 16-bit PCM samples."""
    step = 2 * channels
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * step, step, 16)
    head = b"WAVE" + b"fmt " + form + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", len(head) + size) + head


def channels_of(snapshot: Snapshot, layout: Layout) -> int:
    """Return the number of channels of the stored sound; 0 without one."""
    if layout.sound is None:
        return 0
    content = read_member(snapshot, layout, layout.sound)
    try:
        with open_stored_audio(content) as (_, stream):
            return int(stream.codec_context.channels)
    except UnreadableAudioError as error:
        raise DamagedError(f"{layout.sound}: {error}") from error
