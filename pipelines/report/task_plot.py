"""Plot the task sizes of a stream, with the clips that are not stored."""

from pathlib import Path

from avstore.manifests.store import committing
from avstore.manifests.task_report import TaskReport


def plot_tasks(report: TaskReport, path: Path) -> None:
    """Plot the stored and missing clips of each task as bars, in one panel per role.

    Args:
        report: Sizes of the stream's tasks.
        path: Image file; its extension selects the format (default: PNG).
    """
    import matplotlib  # noqa: PLC0415 -- slow to import, and only this command needs it

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    roles = list(dict.fromkeys(size.role for size in report.sizes))
    tasks = list(dict.fromkeys(size.task for size in report.sizes))
    width = max(6.0, 0.45 * len(tasks) + 2)
    figure, axes = pyplot.subplots(
        len(roles), 1, figsize=(width, 2.6 * len(roles)), sharex=True, squeeze=False
    )
    for axis, role in zip(axes[:, 0], roles, strict=True):
        sizes = [size for size in report.sizes if size.role == role]
        names = [size.task for size in sizes]
        stored = [size.stored for size in sizes]
        axis.bar(names, stored, color="#2a6f97", label="stored")
        axis.bar(names, [s.missing for s in sizes], bottom=stored, color="#d9a5a5", label="missing")
        axis.set_ylabel(f"{role} clips")
    axes[0, 0].set_title(report.stream)
    axes[0, 0].legend()
    axes[-1, 0].tick_params(axis="x", rotation=60 if len(tasks) > 6 else 0)
    figure.tight_layout()
    with committing(path) as file:
        figure.savefig(file, format=path.suffix.lstrip(".") or "png", dpi=120)
    pyplot.close(figure)
