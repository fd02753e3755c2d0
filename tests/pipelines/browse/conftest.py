"""Small stores with real members, and the application over them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from avstore.manifests.catalogue import open_write
from avstore.manifests.library import open_store
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.pipelines.browse.access import Access
from avstore.pipelines.browse.app import create_app
from avstore.pipelines.browse.session import Session
from avstore.pipelines.browse.training import RunLibrary
from tests.train.data.store_factory import Shape, make_store

PORT = 4321
HOSTILE = (
    "<script>window.broken = 1</script>",
    "\"><img src=x onerror='window.broken = 1'>",
    "'); DROP TABLE clips; --",
    "{{ 7777 * 7777 }}{% raw %}",
    "a & b | c / d ? e # f % 20",
    "\u202egpj.exe \x1b[31m",
    "']}<!--",
)


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of 23 stored clips of five classes, with a derived feature."""
    return make_store(tmp_path_factory.mktemp("browse") / "store")


@pytest.fixture
def own_folder(toy_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of it that a test may change."""
    return shutil.copytree(toy_folder, tmp_path / "store")


@pytest.fixture(scope="session")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store whose labels, captions, messages and names attack the pages."""
    root = make_store(tmp_path_factory.mktemp("hostile") / "store")
    change(
        root,
        *(
            f"UPDATE clips SET labels = [{_quoted(text)}], captions = [{_quoted(text)}], "
            f'category = {_quoted(text)}, split = {_quoted(text)}, extra = \'{{"a": "<b>"}}\' '
            f"WHERE position % {len(HOSTILE)} = {number}"
            for number, text in enumerate(HOSTILE)
        ),
        f"UPDATE quality SET detail = {_quoted(HOSTILE[0])}, verdict = {_quoted(HOSTILE[1])}",
        f"UPDATE status SET verdict = {_quoted(HOSTILE[1])}",
        f"UPDATE datasets SET licence = {_quoted(HOSTILE[0])}, version = {_quoted(HOSTILE[1])}",
        "INSERT INTO attempts (clip_id, stage, outcome, error_message, seq, started_at) "
        f"SELECT clip_id, 'fetch', 'gone', {_quoted(HOSTILE[1])}, 1, now() FROM clips",
    )
    return root


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def change(root: Path, *statements: str) -> None:
    """Publish a changed manifest."""
    store = Store(root)
    with writing(store), open_write(store) as writer:
        for statement in statements:
            writer.con.execute(statement)
        writer.publish()


@contextmanager
def client(
    root: Path | str, runs: RunLibrary | None = None, **options: int
) -> Iterator[TestClient]:
    """Yield a client that has access to the pages of a store. options: of `open_store`."""
    access = Access(PORT)
    session = Session(open_store(root, **options))
    app = create_app(session, access, runs)
    with TestClient(app, base_url=f"http://127.0.0.1:{PORT}") as found:
        found.cookies.set(access.cookie, access.token)
        yield found
    session.close()


@pytest.fixture(scope="session")
def pages(toy_folder: Path) -> Iterator[TestClient]:
    """Yield a client of the toy store."""
    with client(toy_folder) as found:
        yield found


@pytest.fixture(scope="session")
def ambisonic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store whose clips have sound of four channels."""
    shape = Shape(clips=3, channels=4)
    return make_store(tmp_path_factory.mktemp("foa") / "store", shape, feature=None)
