"""Find a model's weights: official ones, a local file or folder, or random; always hashed."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from avstore.manifests.store import StoreError, file_sha256


class WeightsError(StoreError):
    """Report weights that are unavailable or do not fit: which, why, and what to do."""


@dataclass(frozen=True)
class Weights:
    """Identify the weights of one run.

    Attributes:
        kind: `official`, `file`, `random` or `none`.
        sha256: Of the file, of the folder's files, or of the text that names the random seed.
        origin: A readable description of where the weights are from.
        path: A file or folder that every worker can read.
        seed: Seed of random weights.
    """

    kind: str
    sha256: str | None
    origin: str = ""
    path: str | None = None
    seed: int | None = None

    @property
    def local(self) -> Path:
        """Return the file or folder.

        Raises:
            WeightsError: The weights have no file.
        """
        if self.path is None:
            raise WeightsError(f"{self.kind} weights have no file; give one with --weights FILE")
        return Path(self.path)

    def facts(self) -> dict[str, Any]:
        """Return what the manifest records, enough to load the same weights again."""
        return asdict(self)

    def check(self) -> None:
        """Check that the file exists and has the recorded sha256.

        Raises:
            WeightsError: It does not.
        """
        if self.path is None:
            return
        path = Path(self.path)
        if not path.exists():
            raise WeightsError(
                f"no weights at {path} on this worker; put them where every worker can read them"
            )
        if (found := path_sha256(path)) != self.sha256:
            raise WeightsError(f"the weights at {path} changed: sha256 {found}, not {self.sha256}")


class WeightsSource(Protocol):
    """Define where an extractor's official weights are published."""

    @property
    def origin(self) -> str:
        """Return a readable description of the source."""
        ...

    def fetch(self) -> Path:
        """Return the local copy, downloaded by the library that publishes the weights."""
        ...


@dataclass(frozen=True)
class HubWeights:
    """Fetch a model repository of the Hugging Face hub.

    Attributes:
        repo: `owner/name`.
        patterns: Files to download.
    """

    repo: str
    patterns: tuple[str, ...] = ("*.json", "*.txt", "model.safetensors")

    @property
    def origin(self) -> str:
        """Return a readable description of the source."""
        return f"huggingface.co/{self.repo}"

    def fetch(self) -> Path:
        """Return the local snapshot, downloaded by huggingface_hub."""
        from huggingface_hub import snapshot_download  # noqa: PLC0415 -- optional

        return Path(snapshot_download(self.repo, allow_patterns=list(self.patterns)))


@dataclass(frozen=True)
class UrlWeights:
    """Fetch a file by torch.hub, which checks the hash in the file's name.

    Attributes:
        url: Address; its last part ends in `-<first digits of the sha256>.pth`.
    """

    url: str

    @property
    def origin(self) -> str:
        """Return a readable description of the source."""
        return self.url

    def fetch(self) -> Path:
        """Return the file in torch.hub's cache, downloaded if it is missing."""
        import torch  # noqa: PLC0415 -- heavy

        name = Path(urlsplit(self.url).path).name
        target = Path(torch.hub.get_dir()) / "checkpoints" / name
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            digits = name.removesuffix(".pth").rpartition("-")[2]
            torch.hub.download_url_to_file(self.url, str(target), hash_prefix=digits)
        return target


@dataclass(frozen=True)
class ManualWeights:
    """Name weights that no library serves and that the user downloads.

    Attributes:
        where: The page that publishes them.
    """

    where: str

    @property
    def origin(self) -> str:
        """Return a readable description of the source."""
        return self.where

    def fetch(self) -> Path:
        """Raise WeightsError, naming the page."""
        raise WeightsError(f"no library serves these weights; get them from {self.where}")


def resolve_weights(source: WeightsSource | None, file: Path | None, seed: int | None) -> Weights:
    """Return the requested weights: a file before a seed before the official source.

    Args:
        source: The extractor's official source; None for an extractor without weights.
        file: A local file or model folder.
        seed: Seed of random weights.

    Raises:
        WeightsError: The weights are unavailable.
    """
    if file is not None:
        if not file.exists():
            raise WeightsError(f"no weights at {file}: --weights takes a file or a model's folder")
        return Weights("file", path_sha256(file), file.name, str(file.resolve()))
    if source is None:
        return Weights("none", None)
    if seed is not None:
        text = f"random weights, seed {seed}"
        return Weights("random", hashlib.sha256(text.encode()).hexdigest(), text, seed=seed)
    try:
        path = source.fetch()
    except (OSError, ImportError, RuntimeError, WeightsError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"the weights of {source.origin} cannot be fetched ({reason[0]}); give them with "
            "--weights FILE, or use random ones for a trial with --random-weights SEED"
        ) from error
    return Weights("official", path_sha256(path), source.origin, str(path.absolute()))


def path_sha256(path: Path) -> str:
    """Return the sha256 of a file, or of a folder's files with their names."""
    if path.is_file():
        return file_sha256(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()} {file_sha256(file)}\n".encode())
    return digest.hexdigest()
