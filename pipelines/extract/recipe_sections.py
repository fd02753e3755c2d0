"""Define the sections of a recipe: frames, video, audio, fbank and quality limits."""

from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from avstore.manifests.fingerprint import AddedWith

_SAMPLING_OF_RULE = {"opencv": "count", "fps_filter": "rate", "output_rate": "rate"}


_MAX_DENOMINATOR = 1001

MAX_VIDEO_PIXELS = 4096 * 2304
"""Most pixels of a stored video's pictures: what encoders manage in the sandbox's memory."""

_Side = Annotated[int, Field(ge=16, le=4096, multiple_of=2)]
_Channel = Annotated[int, Field(ge=0, le=63)]


class Section(BaseModel):
    """Refuse unknown keys, and values that are no numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FrameSettings(Section):
    """Define which frames are stored, and at which size.

    Attributes:
        sampling: `count` (evenly over the clip), `rate` (per second) or `times` (listed instants).
        count: Number of frames of a clip.
        rate: Frames per second.
        times: Instants in seconds from the clip's start.
        rule: `on_screen` takes the frame on screen at each instant. Of the released programs'
            rules, `opencv` seeks frame numbers (with `count`), `fps_filter` is FFmpeg's filter
            `fps`, and `output_rate` FFmpeg's output option `-r` (both with `rate`).
        fit: `crop` (short side to `size`, centre crop to a square), `short_side` (short side to
            `size`, aspect kept), `stretch` (to a square of `size`) or `native` (as decoded).
        size: Pixels, even; not for `native`.
        pixel_aspect: `coded` takes pixels as square, as every published script does; `display`
            applies the stream's sample aspect ratio first.
        quality: JPEG quality, 1 to 100.
    """

    sampling: Literal["count", "rate", "times"]
    count: Annotated[int, Field(ge=1, le=9999)] | None = None
    rate: Annotated[float, Field(gt=0, le=240)] | None = None
    times: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(max_length=9999)] = ()
    rule: Annotated[
        Literal["on_screen", "opencv", "fps_filter", "output_rate"], AddedWith("on_screen")
    ] = "on_screen"
    fit: Literal["crop", "short_side", "stretch", "native"] = "crop"
    size: _Side | None = None
    pixel_aspect: Literal["coded", "display"] = "coded"
    quality: Annotated[int, Field(ge=1, le=100)] = 75

    @property
    def target(self) -> tuple[int, int]:
        """Width and height of `stretch`, the short side or square of others; 0 for `native`."""
        return self.size or 0, self.size or 0

    @model_validator(mode="after")
    def _one_sampling(self) -> Self:
        given = {"count": self.count, "rate": self.rate, "times": self.times}
        if not given[self.sampling]:
            raise ValueError(f"sampling = '{self.sampling}' needs the key '{self.sampling}'")
        extra = [key for key, value in given.items() if value and key != self.sampling]
        if extra:
            raise ValueError(f"sampling = '{self.sampling}' does not take the key '{extra[0]}'")
        if self.rule != "on_screen" and self.sampling != _SAMPLING_OF_RULE[self.rule]:
            needed = _SAMPLING_OF_RULE[self.rule]
            raise ValueError(f"rule = '{self.rule}' needs sampling = '{needed}'")
        if (self.size is None) != (self.fit == "native"):
            verb = "takes no" if self.fit == "native" else "needs the"
            raise ValueError(f"fit = '{self.fit}' {verb} key 'size'")
        return self


class VideoSettings(Section):
    """Define the stored moving pictures: member `KEY.mp4`.

    Attributes:
        rate: Pictures per second: the i-th is the one on screen at i / rate.
        fit: As in `[frames]`; `stretch` goes to `width` x `height`. Sides become even.
        size: Short side or square in pixels, for `crop` and `short_side`.
        width: Width in pixels, for `stretch`.
        height: Height in pixels, for `stretch`.
        pixel_aspect: As in `[frames]`.
        codec: `av1` (SVT-AV1) or `h264` (x264).
        crf: Constant rate factor: smaller is better; about 30 for AV1, 20 for H.264.
        keyframe_every: Pictures from key frame to key frame. Each such group is decoded alone.
        projection: `flat`, or `equirectangular` for pictures of 360 degrees.
        source_projection: Of the files of 360 degrees: `equirectangular` (2:1), or the cube maps
            `eac` (equi-angular, as YouTube delivers them) and `cubemap` (3 x 2 faces), which are
            converted.
        source_stereo: `mono`, or `top_bottom` for two views, of which the upper one is kept.
    """

    rate: Annotated[float, Field(ge=0.01, le=60)]
    fit: Literal["crop", "short_side", "stretch", "native"] = "short_side"
    size: _Side | None = None
    width: _Side | None = None
    height: _Side | None = None
    pixel_aspect: Literal["coded", "display"] = "coded"
    codec: Literal["av1", "h264"] = "av1"
    crf: Annotated[int, Field(ge=1, le=63)] = 30
    keyframe_every: Annotated[int, Field(ge=1, le=1000)] = 16
    projection: Literal["flat", "equirectangular"] = "flat"
    source_projection: Literal["equirectangular", "eac", "cubemap"] = "equirectangular"
    source_stereo: Literal["mono", "top_bottom"] = "mono"

    @property
    def exact_rate(self) -> Fraction:
        """Pictures per second as a fraction, such as 30000/1001 for 29.97002997."""
        return Fraction(self.rate).limit_denominator(_MAX_DENOMINATOR)

    @property
    def target(self) -> tuple[int, int]:
        """Width and height of `stretch`, the short side or square of others; 0 for `native`."""
        return self.width or self.size or 0, self.height or self.size or 0

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        needed = {"stretch": {"width", "height"}, "native": set[str]()}.get(self.fit, {"size"})
        given = {key for key in ("size", "width", "height") if getattr(self, key) is not None}
        for key in sorted(needed - given):
            raise ValueError(f"fit = '{self.fit}' needs the key '{key}'")
        for key in sorted(given - needed):
            raise ValueError(f"fit = '{self.fit}' takes no key '{key}'")
        width, height = self.target
        if width * height > MAX_VIDEO_PIXELS and self.fit in ("stretch", "crop"):
            raise ValueError(
                f"{width} x {height} are {width * height} pixels: a video has {MAX_VIDEO_PIXELS} "
                "at most"
            )
        if self.codec == "h264" and self.crf > 51:
            raise ValueError(f"crf = {self.crf}: codec = 'h264' takes 1 to 51")
        return self

    @model_validator(mode="after")
    def _projections_agree(self) -> Self:
        if self.projection == "flat":
            for key in ("source_projection", "source_stereo"):
                if getattr(self, key) != VideoSettings.model_fields[key].default:
                    value = getattr(self, key)
                    raise ValueError(f"{key} = '{value}' needs projection = 'equirectangular'")
        elif self.fit != "stretch" or self.target[0] != 2 * self.target[1]:
            raise ValueError(
                "projection = 'equirectangular' needs fit = 'stretch' and a width of twice the "
                f"height; fit = '{self.fit}', width = {self.width}, height = {self.height}"
            )
        return self


class AudioSettings(Section):
    """Define the stored waveform: 16 bits.

    Attributes:
        rate: Samples per second.
        layout: `mono`; `stereo` (left, right); or `foa`, first-order ambisonics: W, Y, Z, X (ACN)
            with SN3D weights.
        downmix: For `mono`: the `mean` over the channels, the `first` channel, or the name of one
            in FFmpeg's words (`FL`, `FR`, `FC`, `LFE`, ...).
        upmix: For `stereo` of files with one channel: `none` rejects them, `copy` stores it twice.
        aac_order: For `foa` of AAC files: which decoded channels, from 0, are W, Y, Z, X. AAC has
            only layouts of loudspeakers, so its decoder permutes the channels.
        resampler: FFmpeg's `swr`, or `soxr`.
        length: `clip` (exactly the clip's seconds, with zeros where the file has no sound) or
            `file` (all that the file has, without added zeros).
    """

    rate: Annotated[int, Field(ge=8000, le=48000)] = 16000
    layout: Annotated[Literal["mono", "stereo", "foa"], AddedWith("mono")] = "mono"
    downmix: Annotated[str, Field(pattern="^(mean|first|[A-Z]{2,4})$")] = "mean"
    upmix: Annotated[Literal["none", "copy"], AddedWith("none")] = "none"
    aac_order: Annotated[tuple[_Channel, _Channel, _Channel, _Channel] | None, AddedWith(None)] = (
        None
    )
    resampler: Literal["swr", "soxr"] = "swr"
    length: Annotated[Literal["clip", "file"], AddedWith("clip")] = "clip"

    @property
    def channels(self) -> int:
        """Number of stored channels."""
        return {"mono": 1, "stereo": 2, "foa": 4}[self.layout]

    @model_validator(mode="after")
    def _keys_of_layout(self) -> Self:
        if self.aac_order and len(set(self.aac_order)) < len(self.aac_order):
            raise ValueError(f"aac_order = {list(self.aac_order)} names a channel twice")
        for key, layout in (("downmix", "mono"), ("upmix", "stereo"), ("aac_order", "foa")):
            value = getattr(self, key)
            if value != AudioSettings.model_fields[key].default and self.layout != layout:
                raise ValueError(
                    f"{key} = {value!r} needs layout = '{layout}', not '{self.layout}'"
                )
        return self


class FbankSettings(Section):
    """Define the Kaldi-compatible log-mel filter bank (fbank) of the stored waveform.

    Attributes:
        mels: Number of mel bands.
        frame_length_ms: Length of the window, in milliseconds.
        frame_shift_ms: Step from window to window, in milliseconds.
        low_hz: Lower edge of the lowest band.
        high_hz: Upper edge of the highest band; half the sampling rate if it is left out.
        log_offset: Added to each energy before the logarithm, as VGGish does (0.01); with 0,
            energies below 2^-23 become 2^-23, as Kaldi does.
        subtract_mean: Whether the waveform's mean is subtracted first.
        engine: `numpy`, or `torchaudio` itself.
    """

    mels: Annotated[int, Field(ge=8, le=256)] = 128
    frame_length_ms: Annotated[float, Field(gt=1, le=100)] = 25.0
    frame_shift_ms: Annotated[float, Field(gt=1, le=100)] = 10.0
    low_hz: Annotated[float, Field(ge=0, lt=24000), AddedWith(20.0)] = 20.0
    high_hz: Annotated[Annotated[float, Field(gt=0, le=24000)] | None, AddedWith(None)] = None
    log_offset: Annotated[float, Field(ge=0, le=1), AddedWith(0.0)] = 0.0
    subtract_mean: bool = True
    engine: Literal["numpy", "torchaudio"] = "numpy"


class QualityLimits(Section):
    """Define the thresholds beyond which a clip is rejected or flagged.

    Attributes:
        min_fraction: Share of the wanted seconds that both streams must cover.
        max_decode_errors: Decoder errors allowed within the clip's own seconds.
        max_av_offset_s: Largest distance between the starts of the two streams, in seconds.
        silent_dbfs: RMS level, in dB of full scale, below which a block of 100 ms is silent.
        silent_fraction: Share of silent blocks that makes the clip `silent`; with both defaults,
            only if no block is louder than -50 dB of full scale.
        still_luma: Mean absolute luma difference (0 to 255) below which two neighbouring frames
            are equal.
        still_fraction: Share of such pairs that makes the clip `still`; with both defaults, a clip
            is `still` if no part of the picture changes.
        black_luma: A frame with 98 % of its pixels below this luma (0 to 255) is black.
        black_fraction: Share of black frames that makes the clip `black`; with both defaults, only
            if no pixel is brighter than luma 64.
        reject: Flags that reject the clip instead.
    """

    min_fraction: Annotated[float, Field(gt=0, le=1)] = 0.9
    max_decode_errors: Annotated[int, Field(ge=0)] = 0
    max_av_offset_s: Annotated[float, Field(gt=0)] = 2.0
    silent_dbfs: Annotated[float, Field(ge=-120, le=0)] = -60.0
    silent_fraction: Annotated[float, Field(gt=0, le=1)] = 0.99
    still_luma: Annotated[float, Field(ge=0, le=255)] = 0.5
    still_fraction: Annotated[float, Field(gt=0, le=1)] = 0.95
    black_luma: Annotated[int, Field(ge=0, le=255)] = 32
    black_fraction: Annotated[float, Field(gt=0, le=1)] = 0.99
    reject: tuple[Literal["silent", "still", "black"], ...] = ()
