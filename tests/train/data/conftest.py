"""A small store, made once."""

import pytest

from avstore.train.data import Augment, BatchSpec, open_store, sample_list
from tests.train.data.store_factory import make_store

STELLA = Augment(crop=True, noise=True)


@pytest.fixture(scope="session")
def toy_store(tmp_path_factory):
    return open_store(make_store(tmp_path_factory.mktemp("toy")))


@pytest.fixture(scope="session")
def toy_list(toy_store):
    """All 23 stored clips."""
    return sample_list(toy_store, "SELECT clip_id FROM clips")


@pytest.fixture(scope="session")
def toy_spec():
    return BatchSpec(batch_size=4, frames=2, image_size=24, fbank_frames=48, augment=STELLA)
