"""avstore figures: draw a paper's figures from trained models."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from avstore.manifests.store import StoreError
from avstore.manifests.terminal import console
from avstore.pipelines.cli.progress import bar

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Draw a paper's figures from trained models, and write their numbers.",
)


class Figure(StrEnum):
    """The figures of UAVM."""

    PROBING = "3"
    RETRIEVAL = "4"
    ATTENTION = "5"
    ACCURACY = "accuracy"


class Format(StrEnum):
    """Formats of pictures."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"


_OutputOption = Annotated[Path, typer.Option("--output", help="Folder of pictures and tables.")]
_FormatOption = Annotated[Format, typer.Option("--format", help="Format of the pictures.")]
_DeviceOption = Annotated[
    str | None,
    typer.Option(
        help="Where to compute: cpu, cuda or cuda:N (default: cuda if available, else cpu)."
    ),
]


class Fidelity(StrEnum):
    """Corrected, or as the released scripts."""

    STRICT = "strict"
    PUBLISHED = "published"


@app.command("uavm", epilog="Example: avstore figures uavm runs/uavm --output figures --figure 3")
def uavm(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs, or released weight files."),
    ],
    output: _OutputOption = Path("figures"),
    figure: Annotated[
        list[Figure] | None,
        typer.Option("--figure", help="Figure to draw (repeatable; default: all)."),
    ] = None,
    picture_format: _FormatOption = Format.PNG,
    fidelity: Annotated[
        Fidelity,
        typer.Option(help="As the paper means it, or with the faults of the released scripts."),
    ] = Fidelity.STRICT,
    per_class: Annotated[
        int, typer.Option(min=1, help="Clips of each class in the retrieval list of figure 4.")
    ] = 5,
    tsne_iterations: Annotated[
        int, typer.Option(min=250, help="Iterations of t-SNE in figure 3D.")
    ] = 5000,
    store: Annotated[
        str | None, typer.Option("--store", help="Store (default: as recorded in each run).")
    ] = None,
    device: _DeviceOption = None,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 0,
) -> None:
    """Draw UAVM's figures 3, 4 and 5 and its accuracies, and write the numbers of each as CSV.

    Repeats are runs that differ in the seed only: mean and population standard deviation.
    """
    from avstore.train.errors import UserError
    from avstore.train.experiment import pick_device
    from avstore.train.systems.uavm.figures.measure import Settings
    from avstore.train.systems.uavm.figures.report import Drawing
    from avstore.train.systems.uavm.figures.representations import Reading
    from avstore.train.systems.uavm.figures.trained import find_trained

    published = fidelity is Fidelity.PUBLISHED
    settings = Settings(published, per_class, tsne_iterations)
    wanted: Any = [name.value for name in Figure if name in (figure or Figure)]
    try:
        reading = Reading(published, str(pick_device(device)), workers)
        models, left_out = find_trained(runs, store)
        drawing = Drawing(output, f".{picture_format}", settings, reading, _progress)
        drawn = drawing.draw(models, wanted)
    except UserError as error:
        raise StoreError(str(error)) from error
    for line in [*left_out, *drawn.left_out]:
        console().print(f"left out: {line}", markup=False)
    if not drawn.files:
        raise StoreError("nothing can be drawn of these runs")
    for line in drawn.notes:
        console().print(f"note: {line}", markup=False)
    for path in drawn.files:
        console().print(str(path), markup=False)


@app.command("valor", epilog="Example: avstore figures valor runs/valor --output figures")
def valor(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run of HAN or VALOR, on LLP or AVE.")
    ],
    output: _OutputOption = Path("figures"),
    clip: Annotated[
        list[str] | None,
        typer.Option("--clip", help="Clip to draw (repeatable; default: the best and the worst)."),
    ] = None,
    timelines: Annotated[
        int, typer.Option(min=0, help="How many of the best and of the worst clips to draw.")
    ] = 3,
    threshold: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Probability from which a class is there; not for AVE."
        ),
    ] = 0.5,
    picture_format: _FormatOption = Format.PNG,
    store: Annotated[
        str | None, typer.Option("--store", help="Store (default: as recorded in the run).")
    ] = None,
    device: _DeviceOption = None,
) -> None:
    """Draw timelines of clips, learning curves, and scores by class and clip, of LLP by threshold.

    The scores are F-scores on LLP, and the accuracy over seconds on AVE.
    """
    from avstore.train.errors import UserError
    from avstore.train.experiment import pick_device
    from avstore.train.systems.valor.figures.predictions import predict
    from avstore.train.systems.valor.figures.report import write_figures

    try:
        predictions = predict(run, store, pick_device(device))
        for path in write_figures(
            output,
            run,
            predictions,
            suffix=f".{picture_format}",
            threshold=threshold,
            clips=clip or (),
            timelines=timelines,
        ):
            console().print(str(path), markup=False)
    except UserError as error:
        raise StoreError(str(error)) from error


@contextmanager
def _progress(name: str, clips: int) -> Iterator[Any]:
    with bar(console(), name, clips) as meter:
        yield meter
