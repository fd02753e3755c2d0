"""Load recipes: named, versioned extraction settings, one TOML file each in `recipes/`."""

import hashlib
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from avstore.manifests.fingerprint import AddedWith, canonical
from avstore.manifests.foreign_files import read_toml
from avstore.manifests.nearest import did_you_mean
from avstore.pipelines.extract.recipe_sections import (
    AudioSettings,
    FbankSettings,
    FrameSettings,
    QualityLimits,
    Section,
    VideoSettings,
)

EXTRACTOR_VERSION = "1"
"""Raise this whenever the extractor's code gives other bytes for the same recipe."""

RECIPES = Path(__file__).parent / "recipes"
Member = Literal["frames", "video", "waveform", "fbank"]
DEFAULT_MEMBERS: tuple[Member, ...] = ("frames", "waveform", "fbank")
_MAX_KEY, _MAX_PROBLEMS = 80, 10
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_PROSE = {"title", "source", "notes"}


class RecipeError(Exception):
    """Report a recipe that cannot be used: the key, its value, the allowed values."""


class Recipe(Section):
    """Define how a clip is extracted, after one published preparation.

    Attributes:
        name: The recipe's name, as in folder names.
        title: What it prepares; not in the fingerprint.
        source: The paper and the released code; not in the fingerprint.
        notes: Remarks for readers; not in the fingerprint.
        fidelity: `strict` (by presentation times) or `published` (as the released code computes).
        duration_s: Seconds of a clip that does not define its own.
        decoder: `pyav`; `nvdec`, which decodes video on an NVIDIA GPU; or `decord` for comparison.
        members: What is stored of a clip: `frames`, `video`, `waveform`, `fbank`. Without the last
            two, files need no sound; without the first two, no pictures.
        frames: The stored frames; only if they are among the members.
        video: The stored moving pictures; only if they are among the members.
        audio: The waveform that is stored, and that the fbank is computed from.
        fbank: The stored fbank.
        quality: Thresholds of rejection and flags.
    """

    name: str
    title: str
    source: str
    notes: str = ""
    fidelity: Literal["strict", "published"] = "strict"
    duration_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    decoder: Literal["pyav", "decord", "nvdec"] = "pyav"
    members: Annotated[tuple[Member, ...], AddedWith(DEFAULT_MEMBERS)] = DEFAULT_MEMBERS
    frames: FrameSettings | None = None
    video: Annotated[VideoSettings | None, AddedWith(None)] = None
    audio: AudioSettings = AudioSettings()
    fbank: FbankSettings = FbankSettings()
    quality: QualityLimits = QualityLimits()

    @field_validator("members")
    @classmethod
    def _in_store_order(cls, members: tuple[Member, ...]) -> tuple[Member, ...]:
        return tuple(sorted(members, key=get_args(Member).index))

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"name = {_shortened(self.name)} may hold only a-z, 0-9 and '_', 100 at most"
            )
        self._check_members()
        self._check_fidelity()
        self._check_flags()
        if "fbank" in self.members:
            self._check_bands()
        late = [t for t in (self.frames.times if self.frames else ()) if t >= self.duration_s]
        if late:
            raise ValueError(f"frames.times: {late[0]} is not within the {self.duration_s} s")
        return self

    @property
    def has_pictures(self) -> bool:
        """Whether frames or moving pictures are stored."""
        return self.frames is not None or self.video is not None

    @property
    def has_sound(self) -> bool:
        """Whether the waveform or the fbank is stored."""
        return "waveform" in self.members or "fbank" in self.members

    def _check_members(self) -> None:
        """Raise ValueError for members without their section, and sections without a member."""
        if not self.members or len(set(self.members)) < len(self.members):
            raise ValueError(
                f"members = {list(self.members)} must name at least one of "
                f"{', '.join(get_args(Member))}, each once"
            )
        for name in ("frames", "video"):
            section = getattr(self, name)
            if name in self.members and section is None:
                raise ValueError(f"members has '{name}', which needs the section [{name}]")
            if name not in self.members and section is not None:
                named = json.dumps([*self.members, name])
                raise ValueError(f"[{name}] needs the member '{name}': members = {named}")

    def _check_flags(self) -> None:
        """Raise ValueError for flags of what is not stored."""
        idle = set() if self.has_pictures else {"still", "black"}
        idle |= set() if self.has_sound else {"silent"}
        if found := [flag for flag in self.quality.reject if flag in idle]:
            raise ValueError(
                f"quality.reject = {found} are flags of what members = {list(self.members)} does "
                "not store"
            )

    def _check_fidelity(self) -> None:
        """Raise ValueError for a rule of frames that is not one of the fidelity."""
        if self.fidelity == "published" and self.frames is None:
            raise ValueError("fidelity = 'published' needs the member 'frames'")
        rule = self.frames.rule if self.frames else "on_screen"
        if (self.fidelity == "published") != (rule != "on_screen"):
            raise ValueError(
                f"fidelity = '{self.fidelity}' does not take frames.rule = '{rule}': "
                "'strict' takes 'on_screen'; 'published' takes 'opencv' (sampling = 'count'), "
                "'fps_filter' or 'output_rate' (sampling = 'rate')"
            )
        for key, value in (("fidelity", "published"), ("decoder", "decord")):
            if getattr(self, key) == value and self.video:
                raise ValueError(f"{key} = '{value}' takes no member 'video'")

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
        found = error.errors()
        problems = "; ".join(_problem(e) for e in found[:_MAX_PROBLEMS])
        if len(found) > _MAX_PROBLEMS:
            problems += f"; and {len(found) - _MAX_PROBLEMS} more"
        raise RecipeError(f"{where}: {problems}") from error


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
    key = key if len(key) <= _MAX_KEY else f"{key[:_MAX_KEY]}…"
    if error["type"] == "extra_forbidden":
        return f"unknown key '{key}'"
    if error["type"] == "missing":
        return f"missing key '{key}'"
    message = error["msg"].removeprefix("Value error, ")
    if not key or error["type"] == "value_error":
        return f"[{key}] {message}" if key else message
    message = message[0].lower() + message[1:]
    return f"{key} = {_shortened(error['input'])}: {message.replace('input should be', 'must be')}"
