"""Load recipes: named, versioned extraction settings, one TOML file each in `recipes/`."""

import hashlib
import importlib.util
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from avstore.manifests.fingerprint import AddedWith, canonical
from avstore.manifests.foreign_files import read_toml
from avstore.manifests.nearest import did_you_mean

EXTRACTOR_VERSION = "1"
"""Raise this whenever the extractor's code gives other bytes for the same recipe."""

RECIPES = Path(__file__).parent / "recipes"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_PROSE = {"title", "source", "notes"}
_SAMPLING_OF_RULE = {"opencv": "count", "fps_filter": "rate", "output_rate": "rate"}


class RecipeError(Exception):
    """Report a recipe that cannot be used: the key, its value, the allowed values."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FrameSettings(_Section):
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
    size: Annotated[int, Field(ge=16, le=4096, multiple_of=2)] | None = None
    pixel_aspect: Literal["coded", "display"] = "coded"
    quality: Annotated[int, Field(ge=1, le=100)] = 75

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


class AudioSettings(_Section):
    """Define the stored waveform: mono, 16 bits.

    Attributes:
        rate: Samples per second.
        downmix: `mean` over the channels, or the `first` channel.
        resampler: FFmpeg's `swr`, or `soxr`.
        length: `clip` (exactly the clip's seconds, with zeros where the file has no sound) or
            `file` (all that the file has, without added zeros).
    """

    rate: Annotated[int, Field(ge=8000, le=48000)] = 16000
    downmix: Literal["mean", "first"] = "mean"
    resampler: Literal["swr", "soxr"] = "swr"
    length: Annotated[Literal["clip", "file"], AddedWith("clip")] = "clip"


class FbankSettings(_Section):
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


class QualityLimits(_Section):
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


class Recipe(_Section):
    """Define how a clip is extracted, after one published preparation.

    Attributes:
        name: The recipe's name, as in folder names.
        title: What it prepares; not in the fingerprint.
        source: The paper and the released code; not in the fingerprint.
        notes: Remarks for readers; not in the fingerprint.
        fidelity: `strict` (by presentation times) or `published` (as the released code computes).
        duration_s: Seconds of a clip that does not define its own.
        decoder: `pyav`, or `decord` for comparison.
        frames: The stored frames.
        audio: The stored waveform.
        fbank: The stored fbank.
        quality: Thresholds of rejection and flags.
    """

    name: str
    title: str
    source: str
    notes: str = ""
    fidelity: Literal["strict", "published"] = "strict"
    duration_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    decoder: Literal["pyav", "decord"] = "pyav"
    frames: FrameSettings
    audio: AudioSettings = AudioSettings()
    fbank: FbankSettings = FbankSettings()
    quality: QualityLimits = QualityLimits()

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"name = {_shortened(self.name)} may hold only a-z, 0-9 and '_', 100 at most"
            )
        if (self.fidelity == "published") != (self.frames.rule != "on_screen"):
            raise ValueError(
                f"fidelity = '{self.fidelity}' does not take frames.rule = '{self.frames.rule}': "
                "'strict' takes 'on_screen'; 'published' takes 'opencv' (sampling = 'count'), "
                "'fps_filter' or 'output_rate' (sampling = 'rate')"
            )
        self._check_bands()
        late = [t for t in self.frames.times if t >= self.duration_s]
        if late:
            raise ValueError(f"frames.times: {late[0]} is not within the {self.duration_s} s")
        return self

    def _check_bands(self) -> None:
        """Raise ValueError for bands that the sampling rate, or each other, leave no room."""
        half, high = self.audio.rate / 2, self.fbank.high_hz
        if high is not None and high > half:
            raise ValueError(
                f"fbank.high_hz = {high:g} is above {half:g}, half of audio.rate = "
                f"{self.audio.rate}: lower it, or leave it out"
            )
        if self.fbank.low_hz >= (high or half):
            raise ValueError(
                f"fbank.low_hz = {self.fbank.low_hz:g} is not below {high or half:g}, the upper "
                "edge of the highest band"
            )

    def canonical(self) -> str:
        """Return the settings as JSON with sorted keys: equal strings give equal bytes."""
        settings = canonical(self, exclude=_PROSE)
        return json.dumps(settings, sort_keys=True, separators=(",", ":"))

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 (hex) of the canonical form and the extractor's version."""
        text = f"{self.canonical()}\nextractor {EXTRACTOR_VERSION}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def fp8(self) -> str:
        """Return the fingerprint's first eight digits, as in the names of shard folders."""
        return self.fingerprint[:8]


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a shipped recipe by its name, or a recipe from a TOML file.

    Raises:
        RecipeError: No such recipe, not TOML, an unknown key, or a value out of range.
    """
    path = _find(name_or_path)
    try:
        settings = read_toml(path)
    except ValueError as error:
        raise RecipeError(f"{path} is not a TOML file: {error}") from error
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error
    return parse_recipe(settings, str(path))


def parse_recipe(settings: dict[str, Any], where: str = "recipe") -> Recipe:
    """Build a recipe from settings as read from TOML.

    Args:
        settings: Tables and keys of the TOML file.
        where: Name of the file, for error messages.

    Raises:
        RecipeError: An unknown key, or a value out of range.
    """
    try:
        return Recipe.model_validate(settings)
    except ValidationError as error:
        problems = "; ".join(_problem(e) for e in error.errors())
        raise RecipeError(f"{where}: {problems}") from error


def require_decoder(recipe: Recipe) -> None:
    """Check that the recipe's decoder is installed.

    Raises:
        RecipeError: It is not.
    """
    if recipe.decoder == "decord" and importlib.util.find_spec("decord") is None:
        raise RecipeError(
            f"recipe '{recipe.name}': decoder = 'decord' needs the package decord, which is not "
            "installed (it exists for Linux on x86-64 only): use decoder = 'pyav'"
        )


def _find(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if _NAME.fullmatch(text):
        path = RECIPES / f"{text}.toml"
        if not path.is_file():
            known = ", ".join(recipe_names())
            hint = did_you_mean(text, recipe_names())
            raise RecipeError(
                f"no recipe '{text}'{hint}; choose one of {known}, or give a .toml file"
            )
        return path
    path = Path(text)
    if not path.is_file():
        raise RecipeError(f"no recipe file {text}: give the name of a recipe or a .toml file")
    return path


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _problem(error: Any) -> str:
    """Describe one pydantic error: the key, its value, the allowed values."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key '{key}'"
    if error["type"] == "missing":
        return f"missing key '{key}'"
    message = error["msg"].removeprefix("Value error, ")
    if not key or error["type"] == "value_error":
        return f"[{key}] {message}" if key else message
    message = message[0].lower() + message[1:]
    return f"{key} = {_shortened(error['input'])}: {message.replace('input should be', 'must be')}"
