"""References to objects of a user's own modules."""

from pathlib import Path

import pytest

from avstore.datasets.references import load_object


def test_a_module_in_the_current_directory_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beside_me.py").write_text("VALUE = 7\n")
    assert load_object("beside_me:VALUE") == 7


def test_installed_packages_come_before_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "colorsys.py").write_text("raise RuntimeError('imported by mistake')\n")
    assert callable(load_object("colorsys:rgb_to_hsv"))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere_at_all:It", "no module named 'nowhere_at_all'"),
        ("json:Missing", "the module json has no 'Missing'"),
        ("json", "the module json has no ''"),
        (":NAME", "write the module's name"),
        ("./birds:BIRDS", "as birds:BIRDS"),
        ("/a/b/birds.py:BIRDS", "as birds:BIRDS"),
        ("birds.py:BIRDS", "as birds:BIRDS"),
        ("it_raises:X", "RuntimeError: boom"),
        ("wrong_syntax:X", "invalid syntax|was never closed"),
    ],
)
def test_what_cannot_be_loaded_is_a_lookup_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, message: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "wrong_syntax.py").write_text("X = (\n")
    (tmp_path / "it_raises.py").write_text("raise RuntimeError('boom')\n")
    with pytest.raises(LookupError, match=f"{reference!r} cannot be loaded: .*({message})"):
        load_object(reference)
