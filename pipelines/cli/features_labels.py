"""avstore features labels: a report of pseudo labels by class."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from avstore.manifests.terminal import console, is_quiet, plural
from avstore.pipelines.cli.options import AddressOption, ExitCode, JsonOption
from avstore.pipelines.cli.query_output import OutputOption, QueryOutput
from avstore.pipelines.cli.tables import print_rows

if TYPE_CHECKING:
    from avstore.pipelines.features.pseudo_labels import ClassReport, PseudoLabelReport

_SHARES = ("audio", "visual", "disagreement")
_SHOWN_VIOLATIONS = 20


def report_labels(
    dataset: Annotated[str, typer.Option(help="Dataset of the clips.")] = "llp",
    audio: Annotated[
        str, typer.Option(help="Feature with the pseudo labels of the sound.")
    ] = "valor-clap-labels",
    visual: Annotated[
        str, typer.Option(help="Feature with the pseudo labels of the frames.")
    ] = "valor-clip-labels",
    split: Annotated[str | None, typer.Option(help="Split of the clips (default: all).")] = None,
    output: OutputOption = None,
    store: AddressOption = "data",
    as_json: JsonOption = False,
) -> None:
    """Report pseudo labels by class: positive segments, clips without any, disagreement, examples.

    Shares are of the segments of clips that have the class as a weak label. Exit code 1 if a
    pseudo label is not one of its clip's weak labels.
    """
    from avstore.manifests.library import open_store
    from avstore.pipelines.features.pseudo_labels import pseudo_label_report

    written = QueryOutput(as_json=as_json, output=output)
    with open_store(store) as opened:
        report = pseudo_label_report(opened, dataset, audio, visual, split)
    if output is not None or as_json:
        _write(report, written)
    else:
        _print(report)
    if not as_json and not is_quiet():
        console().print(_summary(report, audio, visual), soft_wrap=True)
    _print_violations(report)
    if report.violations:
        raise typer.Exit(ExitCode.PROBLEM)


def _write(report: "PseudoLabelReport", written: QueryOutput) -> None:
    import duckdb
    import pyarrow as pa

    rows = pa.Table.from_pylist([_row(each) for each in report.classes])
    with duckdb.connect() as con:
        con.register("classes", rows)
        written.run(con, "FROM classes")


def _row(found: "ClassReport") -> dict[str, object]:
    return asdict(found) | {"examples": " ".join(found.examples)}


def _print(report: "PseudoLabelReport") -> None:
    rows = [
        _row(each) | {name: _percent(getattr(each, name)) for name in _SHARES}
        for each in report.classes
    ]
    print_rows(rows, [name for name in rows[0] if name != "label_id"])


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _summary(report: "PseudoLabelReport", audio: str, visual: str) -> str:
    return (
        f"{plural(report.both, 'clip')} with both features; {report.audio_only} with {audio} "
        f"alone, {report.visual_only} with {visual} alone, {report.neither} with neither"
    )


def _print_violations(report: "PseudoLabelReport") -> None:
    found = report.violations
    for each in found[:_SHOWN_VIOLATIONS]:
        typer.echo(f"{each.clip_id}: {each.feature}: {each.problem}", err=True)
    if len(found) > _SHOWN_VIOLATIONS:
        typer.echo(f"… and {len(found) - _SHOWN_VIOLATIONS} more", err=True)
