"""The examples in the docstrings run, as a user types them in a folder with a store in `data`."""

import doctest
import importlib
import pkgutil

import pytest

from avstore.train import data
from avstore.train.data import open_store, sample_list

# Defined in avstore.manifests, or a constant.
WITHOUT_EXAMPLE = {"BadSample", "BadSampleError", "FBANK_STATISTICS", "OpenStore", "open_store"}
MODULES = [
    f"{data.__name__}.{module.name}"
    for module in pkgutil.walk_packages(data.__path__)
    if not module.ispkg
]


@pytest.fixture
def in_a_folder_with_data(toy_store, tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(toy_store.root)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.usefixtures("in_a_folder_with_data")
def test_examples(module):
    names = {name: getattr(data, name) for name in data.__all__}
    names["samples"] = sample_list(open_store("data"), "SELECT clip_id FROM clips")
    found = doctest.testmod(importlib.import_module(module), extraglobs=names)
    assert found.failed == 0


@pytest.mark.parametrize("name", sorted(set(data.__all__) - WITHOUT_EXAMPLE))
def test_every_exported_name_has_an_example(name):
    assert ">>> " in getattr(data, name).__doc__
