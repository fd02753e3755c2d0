"""MkDocs hooks: add the pages and tables that are generated from the code."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from avstore.datasets import registry
from docs.tools import (
    api_reference,
    cli_reference,
    config_reference,
    datasets_pages,
    manifest_reference,
    notebook,
)

_TABLES = {
    "<!-- table: datasets -->": datasets_pages.dataset_table,
    "<!-- table: streams -->": datasets_pages.stream_table,
}


def generated_pages() -> dict[str, Callable[[], str]]:
    """Return the generated pages: path under docs/ -> function that returns its Markdown."""
    cards = {
        f"datasets/{name}.md": partial(datasets_pages.dataset_page, name)
        for name in registry.own_names()
    }
    packages = {
        path: partial(api_reference.page, package)
        for package, path in api_reference.PACKAGES.items()
    }
    references = {
        "reference/api.md": api_reference.index,
        "reference/cli.md": cli_reference.page,
        "reference/config.md": config_reference.page,
        "reference/manifest.md": manifest_reference.page,
    }
    tour = {"tour.md": partial(notebook.page, notebook.TOUR)}
    return {**references, **packages, **cards, **tour}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the navigation's section of datasets."""
    section: dict[str, Any] = next(item for item in config.nav or [] if "Datasets" in item)
    section["Datasets"] = [f"datasets/{name}.md" for name in registry.own_names()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the build."""
    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put generated tables where a page marks them."""
    for mark, text in _TABLES.items():
        if mark in markdown:
            markdown = markdown.replace(mark, text())
    return markdown
