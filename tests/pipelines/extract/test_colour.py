"""Test colour conversion against the matrices of the standards, in floating point."""

import numpy as np
import pytest

from avstore.pipelines.extract.colour import to_bt601

WEIGHTS = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 5: (0.299, 0.114), 2: (0.299, 0.114)}


def rgb_of(planes, weights):
    y, u, v = (p.astype(float) for p in planes)
    kr, kb = weights
    u, v = (np.kron(c - 128, np.ones((2, 2)))[: y.shape[0], : y.shape[1]] for c in (u, v))
    red, blue = y + (2 - 2 * kr) * v, y + (2 - 2 * kb) * u
    return np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue])


@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize("shape", [(64, 48), (63, 49)])
def test_the_same_colours_by_another_matrix(matrix, shape):
    chance = np.random.default_rng(matrix)
    half = ((shape[0] + 1) // 2, (shape[1] + 1) // 2)
    luma = chance.integers(60, 190, shape).astype(np.uint8)
    chroma = [chance.integers(100, 156, half).astype(np.uint8) for _ in range(2)]
    before = (luma, *chroma)
    after = to_bt601(before, matrix)
    assert [p.shape for p in after] == [p.shape for p in before]
    difference = np.abs(rgb_of(after, WEIGHTS[5]) - rgb_of(before, WEIGHTS[matrix]))
    assert difference.max() < 2.5  # the rounding of three planes


def test_it_saturates():
    luma = np.array([[0, 255], [3, 250]], np.uint8)
    for u, v in ((0, 0), (255, 255), (0, 255), (255, 0)):
        chroma = [np.full((1, 1), c, np.uint8) for c in (u, v)]
        luma_after, *_ = to_bt601((luma, *chroma), 1)
        shift = round(0.1016 * (u - 128) + 0.1961 * (v - 128))
        wanted = np.clip(luma.astype(int) + shift, 0, 255)
        assert np.abs(luma_after.astype(int) - wanted).max() <= 1
