"""Build an embedded sample: the videos and lists that the project makes in a dataset's format."""

from functools import partial
from pathlib import Path

from rich.console import Console

from avstore.datasets.spec import DatasetSpec
from avstore.manifests import commands
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.cli.progress import bar

SOURCE = "sample"
"""The value of --source that names it."""


def is_embedded(dataset: str, source: str | None, annotations: tuple[Path, ...]) -> bool:
    """Return whether the options of a build name the embedded sample; no videos name it, too."""
    from avstore.datasets.sample import SAMPLES

    return not annotations and (source is None or (source == SOURCE and dataset in SAMPLES))


def require_same_origin(dataset: str, embedded: bool, store: Store) -> None:
    """Refuse to replace the embedded sample by the dataset of its name, or the reverse."""
    from avstore.datasets.sample import SAMPLES
    from avstore.manifests.catalogue import reading

    if dataset not in SAMPLES or not store.manifest.is_file():
        return
    with reading(store) as con:
        rows = con.execute("SELECT version FROM datasets WHERE name = ?", [dataset]).fetchall()
    names = {True: "the embedded sample", False: f"{dataset} itself"}
    for (version,) in rows:
        held = version == SAMPLES[dataset].spec.version
        if held != embedded:
            raise StoreError(
                f"{store.root} holds {names[held]}, and {names[embedded]} would replace it; "
                "choose another folder (STORE=DIR, or --store DIR)"
            )


def make_inputs(
    dataset: str, store: Path, wait: float, out: Console
) -> tuple[DatasetSpec, str, tuple[Path, ...]]:
    """Write an embedded sample, unless it is present.

    Returns:
        The sample as a dataset, the folder of its videos, and its annotation files.

    Raises:
        StoreError: The dataset has no sample, or it cannot be written.
    """
    from avstore.datasets.sample import SAMPLES
    from avstore.pipelines.build.preparing import preparing

    if dataset not in SAMPLES:
        example = commands.build(dataset, store, "/path/to/videos", "/path/to/annotations")
        raise StoreError(
            f"{dataset} has no embedded sample; give its videos and its annotation files "
            f"(described by {commands.avstore('datasets', 'card', dataset)}): {example}"
        )
    sample = SAMPLES[dataset]
    folder = store / sample.folder
    done = 0
    with (
        preparing(store, dataset, wait, partial(bar, out)) as shown,
        shown("sample", 100, "percent") as advance,
    ):

        def progress(written: int, total: int) -> None:
            nonlocal done
            percent = 100 * written // total
            advance(percent - done)
            done = percent

        try:
            paths = sample.make(folder, progress)
        except OSError as error:
            raise StoreError(
                f"the embedded sample cannot be written to {folder}: {error.strerror or error}; "
                "choose another folder (STORE=DIR, or --store DIR)"
            ) from error
    return sample.spec, str(paths.videos), paths.annotations
