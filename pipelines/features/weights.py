"""A model's weights: from the library that owns them, from a file, or random; always hashed."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from avstore.manifests.errors import first_sentence
from avstore.manifests.store import StoreError, file_sha256


class WeightsError(StoreError):
    """Weights that cannot be had or do not fit: which, why, and what to do."""


@dataclass(frozen=True)
class Weights:
    """The weights of one run. kind: official | file | random | none.

    sha256: of the file, or of the folder's files; for random ones of the seed's description.
    origin: where they are from, in words. path: a file or folder that every worker sees.
    """

    kind: str
    sha256: str | None
    origin: str = ""
    path: str | None = None
    seed: int | None = None

    @property
    def local(self) -> Path:
        """The file or folder. Raises WeightsError for weights that are neither."""
        if self.path is None:
            raise WeightsError(f"{self.kind} weights are no file")
        return Path(self.path)

    def facts(self) -> dict[str, Any]:
        """What the manifest keeps, so that the same weights can be asked for again."""
        return asdict(self)

    def check(self) -> None:
        """Raises WeightsError where the file is not there, or is not the one that was hashed."""
        if self.path is None:
            return
        path = Path(self.path)
        if not path.exists():
            raise WeightsError(f"no weights at {path} on this worker; put them where it sees them")
        if (found := path_sha256(path)) != self.sha256:
            raise WeightsError(f"the weights at {path} changed: sha256 {found}, not {self.sha256}")


class Place(Protocol):
    """Where weights officially lie."""

    @property
    def origin(self) -> str: ...

    def fetch(self) -> Path:
        """The local copy, through the library that owns them (its cache, its checks)."""
        ...


@dataclass(frozen=True)
class HubPlace:
    """A model repository of the Hugging Face hub, fetched by huggingface_hub."""

    repo: str
    patterns: tuple[str, ...] = ("*.json", "*.txt", "model.safetensors")

    @property
    def origin(self) -> str:
        return f"huggingface.co/{self.repo}"

    def fetch(self) -> Path:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 -- optional

        return Path(snapshot_download(self.repo, allow_patterns=list(self.patterns)))


@dataclass(frozen=True)
class UrlPlace:
    """A file of PyTorch's model zoo, fetched by torch.hub, which checks the hash in its name."""

    url: str

    @property
    def origin(self) -> str:
        return self.url

    def fetch(self) -> Path:
        import torch  # noqa: PLC0415 -- heavy

        name = Path(urlsplit(self.url).path).name
        target = Path(torch.hub.get_dir()) / "checkpoints" / name
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            digits = name.removesuffix(".pth").rpartition("-")[2]
            torch.hub.download_url_to_file(self.url, str(target), hash_prefix=digits)
        return target


@dataclass(frozen=True)
class OnlyFile:
    """Weights that no library serves: a person has to fetch them. where: their published place."""

    where: str

    @property
    def origin(self) -> str:
        return self.where

    def fetch(self) -> Path:
        raise WeightsError(f"no library serves these weights; get them from {self.where}")


def resolve(place: Place | None, file: Path | None, seed: int | None) -> Weights:
    """The weights that were asked for; a file before a seed before the official place.

    Raises WeightsError where they cannot be had.
    """
    if file is not None:
        if not file.exists():
            raise WeightsError(f"no weights at {file}: --weights takes a file or a model's folder")
        return Weights("file", path_sha256(file), file.name, str(file.resolve()))
    if place is None:
        return Weights("none", None)
    if seed is not None:
        words = f"random weights, seed {seed}"
        return Weights("random", hashlib.sha256(words.encode()).hexdigest(), words, seed=seed)
    try:
        path = place.fetch()
    except (OSError, ImportError, RuntimeError, WeightsError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"the weights of {place.origin} cannot be fetched ({reason[0]}); give them with "
            "--weights FILE, or take random ones for a trial with --random-weights SEED"
        ) from error
    return Weights("official", path_sha256(path), place.origin, str(path))


def path_sha256(path: Path) -> str:
    """sha256 of a file, or of a folder's files with their names."""
    if path.is_file():
        return file_sha256(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {file_sha256(file)}\n".encode())
    return digest.hexdigest()


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Make what torch initialises within depend on the seed alone."""
    import torch  # noqa: PLC0415 -- heavy

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        yield


def read_state(path: Path) -> dict[str, Any]:
    """The tensors of a checkpoint file, by name; pickles are read as tensors alone."""
    import torch  # noqa: PLC0415 -- heavy

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415 -- optional

            return dict(load_file(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file raises is not one class
        raise WeightsError(
            f"{path} is not a checkpoint that can be read: {first_sentence(error)}"
        ) from error
    for inner in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(inner), Mapping):
            found = found[inner]
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path} holds no state dict but a {type(found).__name__}")
    return dict(found)


def without_prefix(state: Mapping[str, Any], landmark: str) -> dict[str, Any]:
    """The entries beside the one that ends with `landmark`, their common prefix taken off.

    Checkpoints of wrapped models (`module.`, `model.`) read like those of the model itself.
    """
    found = [name for name in state if name == landmark or name.endswith(f".{landmark}")]
    if not found:
        raise WeightsError(f"these weights have no {landmark}: they are of another model")
    prefix = min(found, key=len).removesuffix(landmark)
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def fit(model: Any, state: Mapping[str, Any], ignore: tuple[str, ...] = ()) -> None:
    """Load the state into the model; every tensor must be there and fit.

    ignore: beginnings of names the model does not want. Tables that a model makes itself may be
    missing, and may be there.
    """
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(ignore)}
    try:
        missing, unexpected = model.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        last = str(error).splitlines()[-1].strip()
        raise WeightsError(f"the weights do not fit: {last}") from error
    missing, unexpected = (
        [name for name in names if not name.endswith(_TABLES)] for names in (missing, unexpected)
    )
    if missing or unexpected:
        raise WeightsError(
            f"the weights do not fit: {len(missing)} tensors are missing "
            f"({', '.join(missing[:3])}) and {len(unexpected)} are unknown "
            f"({', '.join(unexpected[:3])})"
        )


_TABLES = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")
