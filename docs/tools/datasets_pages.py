"""Generate what the pages about datasets take from the registry."""

from avstore.datasets import registry
from avstore.pipelines.build.task_streams import load_stream
from avstore.pipelines.interchange.data_card import clip_length, page
from docs.tools.docstrings import cell, table


def dataset_page(name: str) -> str:
    """Return a dataset's page, as `avstore datasets card NAME` prints it."""
    return page(registry.get(name))


def dataset_table() -> str:
    """Return the table of datasets, with links to their pages."""
    rows = []
    for name in registry.own_names():
        spec = registry.get(name)
        link, classes = f"[{name}](datasets/{name}.md)", f"{len(spec.vocabulary())}"
        rows.append((link, cell(spec.title), classes, clip_length(spec), f"`{spec.recipe}`"))
    return "\n".join(table(("dataset", "title", "classes", "clip", "recipe"), rows))


def stream_table() -> str:
    """Return the table of the task streams that come with avstore."""
    rows = []
    for name in registry.stream_names():
        stream = load_stream(name)
        rows.append((f"`{name}`", cell(stream.title), f"{len(stream.tasks)}"))
    return "\n".join(table(("stream", "content", "tasks"), rows))
