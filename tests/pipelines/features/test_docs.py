"""Test that the extractor on the page about features runs unchanged, from another folder."""

import re
import sys
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
from typer.testing import CliRunner

from avstore.manifests.library import open_store
from avstore.manifests.store import Store
from avstore.pipelines.cli.features import app
from avstore.pipelines.features import registry
from avstore.pipelines.features.registry import references
from tests.conftest import REPO
from tests.pipelines.features.media import wave

PAGE = (REPO / "docs/features.md").read_text()
SNIPPET = next(
    code for code in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "loudness.py" in code
)


@pytest.fixture
def beside(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Write the snippet to a file in the current directory."""
    (tmp_path / "loudness.py").write_text(SNIPPET)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("loudness", None)
    sys.path[:] = [path for path in sys.path if path != str(tmp_path)]


def test_the_extractor_of_the_page_is_thirty_lines() -> None:
    assert len([line for line in SNIPPET.splitlines() if line.strip()]) <= 30


def test_the_extractor_of_the_page_runs(beside, store: Store) -> None:
    arguments = [
        "build",
        "--extractor",
        "loudness:Loudness",
        "--set",
        "rate=16000",
        "--workers",
        "1",
    ]
    result = CliRunner().invoke(app, [*arguments, "--store", str(store.root)])
    assert result.exit_code == 0, result.output
    assert "7 clips in 3 shards" in result.output
    with open_store(store.root) as reading:
        found = reading.read("loudness", ["toy/k00004"])["toy/k00004"]
    samples = wave(4) / 32768
    np.testing.assert_allclose(found, [[10 * np.log10(np.mean(samples**2))]], atol=1e-3)


def test_an_installed_package_offers_its_extractor_by_name(
    beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("loudness", "loudness:Loudness", registry.EXTRACTOR_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints([point]))
    assert registry.make_extractor("loudness").name == "loudness"


def test_every_extractor_is_on_the_page() -> None:
    assert [name for name in references() if f"| `{name}` |" not in PAGE] == []
