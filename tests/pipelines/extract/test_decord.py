"""Test that decord gives the same frames as PyAV."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.recipe import RecipeError, load_recipe, parse_recipe
from avstore.pipelines.extract.sandbox import Sandbox
from tests.pipelines.extract.media import make_clip, source

STELLA = load_recipe("stella")
DECORD = parse_recipe(STELLA.model_dump() | {"decoder": "decord"})


def pixels(extracted) -> np.ndarray:
    frames = [body for suffix, body in extracted.members if suffix.endswith(".jpg")]
    return np.stack([np.asarray(Image.open(io.BytesIO(body))) for body in frames]).astype(float)


def test_the_same_frames_at_the_same_times(tmp_path):
    pytest.importorskip("decord")
    path = make_clip(tmp_path / "a.mp4", extra=("-vf", "noise=alls=8:allf=t"))
    ours, theirs = (extract_clip(source(path), recipe) for recipe in (STELLA, DECORD))
    assert theirs.verdict is None, theirs.detail
    assert ours.frame_times == theirs.frame_times
    difference = np.abs(pixels(ours) - pixels(theirs)).mean(axis=(1, 2, 3))
    assert difference.max() < 3
    assert DECORD.fingerprint != STELLA.fingerprint
    assert dict(ours.members)["flac"] == dict(theirs.members)["flac"]


def test_a_missing_decord_is_an_error(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="needs the package decord"):
        Sandbox(DECORD)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "decord", None)
    from avstore.pipelines.extract.decord_frames import decord_frames

    with pytest.raises(RecipeError, match="needs the package decord"):
        next(decord_frames("a.mp4", [0.0]))
