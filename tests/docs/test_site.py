"""The site builds without a warning, works offline, and holds every generated page."""

import importlib
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from avstore.datasets import registry
from avstore.pipelines.cli.datasets import app as datasets_app
from docs.tools import api_reference, cli_reference, config_reference, datasets_pages
from docs.tools.docstrings import settings_of
from tests.conftest import REPO
from tests.docs.pages import PAGES, name_of, text_of

REMOTE = re.compile(r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//|<link[^>]+href=\"https?://")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; `make docs` fails on any warning: broken links and anchors included."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        ["make", "docs", f"ARGS=--site-dir {folder}"],
        cwd=REPO,
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    assert [str(page) for page in pages if REMOTE.search(page.read_text())] == []


@pytest.mark.slow
@pytest.mark.parametrize("package", api_reference.PACKAGES)
def test_the_site_documents_every_exported_name(site: Path, package: str) -> None:
    page = site / api_reference.PACKAGES[package].replace(".md", "/index.html")
    text = page.read_text()
    names = importlib.import_module(package).__all__
    anchors = {name: api_reference.identifier(package, name) for name in names}
    assert [name for name in names if f'id="{anchors[name]}"' not in text] == []


@pytest.mark.slow
def test_the_site_has_a_page_of_every_dataset(site: Path) -> None:
    for name in registry.own_names():
        text = (site / f"datasets/{name}/index.html").read_text()
        assert registry.get(name).title in text


def test_every_command_and_option_is_in_the_reference() -> None:
    page = cli_reference.page()
    for path, command in cli_reference.commands():
        section = page.split(f"\n## {path}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            if parameter.name != "help":
                assert parameter.help, f"{path}: {parameter.name} has no help text"
                assert parameter.opts[0].removeprefix("-") in section.lower()


def test_every_setting_is_in_the_reference() -> None:
    page = config_reference.page()
    for kind in config_reference.DOCUMENTED:
        for setting in settings_of(kind):
            if setting.name == "parameters":  # of a stream: any other key
                continue
            assert f"`{setting.name}`" in page or f"`[{setting.name}]`" in page


def test_the_dataset_tables_are_whole() -> None:
    datasets, streams = datasets_pages.dataset_table(), datasets_pages.stream_table()
    assert [name for name in registry.own_names() if f"(datasets/{name}.md)" not in datasets] == []
    assert [name for name in registry.stream_names() if f"`{name}`" not in streams] == []


def test_a_dataset_page_is_its_card() -> None:
    for name in registry.own_names():
        page = datasets_pages.dataset_page(name)
        assert CliRunner().invoke(datasets_app, ["card", name]).stdout == page
        for fact in ("Source:", "Licence:", "Known defects:"):
            assert f"**{fact}**" in page, f"{name}: {fact}"


def test_links_of_the_readme_lead_somewhere() -> None:
    readme = (REPO / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", readme)
    local = [link for link in links if "://" not in link]
    assert local
    assert [link for link in local if not (REPO / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_in_code_spans_exist(page: Path) -> None:
    spans = re.findall(
        r"`((?:av_datasets|pipelines|manifests|train|tests|benchmarks|docs)/[\w/.*-]+)`",
        text_of(page),
    )
    assert [span for span in spans if not list(REPO.glob(span.rstrip("/")))] == []


def test_every_exit_code_is_explained() -> None:
    table = cli_reference.page().split("## Exit codes")[1].split("##")[0]
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", table, re.M)
    assert {code for code, _ in rows} >= {"0", "1", "2", "3", "4", "130"}
    assert [code for code, meaning in rows if not meaning.strip()] == []


def test_every_setting_is_explained() -> None:
    empty = [
        f"{kind.__name__}.{setting.name}"
        for kind in config_reference.DOCUMENTED
        for setting in settings_of(kind)
        if not setting.text and setting.section is None
    ]
    assert empty == []
