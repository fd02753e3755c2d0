"""Test batched preparation against the libraries' own, one item at a time."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from avstore.pipelines.features import pixels
from avstore.pipelines.features.extractors.clip import ClipImage
from avstore.pipelines.features.extractors.r2plus1d import R2Plus1D18
from avstore.pipelines.features.extractors.resnet152 import prepare_resnet
from avstore.pipelines.features.sound import clap_mel, quantise, repeat_pad, vggish_examples
from tests.pipelines.features.media import picture, wave

SIZES = [(240, 320), (320, 240), (180, 333), (224, 224), (260, 1000)]
LEVEL = 1.01 / 255  # largest effect of rounding a resized picture to bytes


def batch(height: int, width: int, count: int = 3) -> np.ndarray:
    return np.stack([picture(seed, height, width) for seed in range(count)])


def spread(statistics: tuple) -> float:
    """Return one level of a picture after normalisation."""
    return LEVEL / min(statistics[1])


@pytest.mark.parametrize("kind", ["CLIPImageProcessor", "CLIPImageProcessorPil"])
@pytest.mark.parametrize("size", SIZES)
def test_clip_crop_is_the_image_processors(size: tuple[int, int], kind: str) -> None:
    library = pytest.importorskip("transformers")
    given = batch(*size)
    processor = getattr(library, kind)()
    theirs = processor(images=list(given), return_tensors="pt")["pixel_values"]
    ours = ClipImage(fit="crop").prepare(torch.from_numpy(given), 224)
    assert ours.shape == theirs.shape == (3, 3, 224, 224)
    difference = (ours - theirs).abs()
    assert difference.max() <= 2 * spread(
        pixels.CLIP_STATISTICS
    )  # a tie rounded otherwise in each pass
    assert difference.mean() < 0.01 * spread(pixels.CLIP_STATISTICS)


@pytest.mark.parametrize("size", SIZES)
def test_clip_stretch_is_torchvisions_without_antialias(size: tuple[int, int]) -> None:
    given = batch(*size)
    theirs = transforms.Compose(
        [
            transforms.Resize((224, 224), antialias=False),
            transforms.Normalize(*pixels.CLIP_STATISTICS),
        ]
    )
    expected = torch.stack([theirs(transforms.functional.to_tensor(p)) for p in given])
    ours = ClipImage().prepare(torch.from_numpy(given), 224)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_resnet_is_torchvisions_on_a_picture(size: tuple[int, int]) -> None:
    given = batch(*size)
    theirs = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(*pixels.IMAGENET_STATISTICS),
        ]
    )
    expected = torch.stack([theirs(Image.fromarray(p)) for p in given])
    difference = (prepare_resnet(torch.from_numpy(given)) - expected).abs()
    assert difference.max() <= spread(pixels.IMAGENET_STATISTICS)


@pytest.mark.parametrize("size", SIZES[:3])
def test_r2plus1d_is_torchvisions_on_a_picture(size: tuple[int, int]) -> None:
    given = batch(*size, count=8)
    theirs = transforms.Compose(
        [
            transforms.Resize((112, 112)),
            transforms.ToTensor(),
            transforms.Normalize(*pixels.KINETICS_STATISTICS),
        ]
    )
    expected = torch.stack([theirs(Image.fromarray(p)) for p in given], dim=1)
    ours = R2Plus1D18().prepare(torch.from_numpy(given)[None])[0]
    assert ours.shape == (3, 8, 112, 112)
    assert (ours - expected).abs().max() <= spread(pixels.KINETICS_STATISTICS)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.3, 10.0])
def test_clap_mel_is_the_feature_extractors(seconds: float) -> None:
    library = pytest.importorskip("transformers")
    waves = [quantise(wave(seed, seconds, 48000) / 32768) for seed in range(2)]
    theirs = library.ClapFeatureExtractor(frequency_min=50)(
        [w.astype(np.float64) for w in waves],
        truncation="fusion",
        padding="repeatpad",
        sampling_rate=48000,
        return_tensors="pt",
    )["input_features"].float()
    ours = clap_mel(repeat_pad(torch.from_numpy(np.stack(waves))))
    assert ours.shape == (2, 4, 1001, 64)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-2)


def test_quantise_is_sixteen_bits_and_back() -> None:
    given = np.array([-2.0, -1.0, -0.00002, 0.0, 0.00004, 0.5, 1.0], np.float32)
    expected = [-32767, -32767, 0, 0, 1, 16383, 32767]
    np.testing.assert_array_equal(np.rint(quantise(given) * 32767), expected)


def vggish_by_hand(samples: np.ndarray) -> np.ndarray:
    """Compute the published front end from its description, one frame and band at a time."""
    edges = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), 66)
    rows = []
    for start in range(0, len(samples) - 400 + 1, 160):
        frame = samples[start : start + 400] * [
            0.5 - 0.5 * np.cos(2 * np.pi * i / 400) for i in range(400)
        ]
        magnitude = np.abs(np.fft.rfft(frame, n=512))
        mels = 1127 * np.log(1 + np.arange(257) * 16000 / 512 / 700)
        bands = []
        for band in range(64):
            low, centre, high = edges[band : band + 3]
            slopes = np.minimum((mels - low) / (centre - low), (high - mels) / (high - centre))
            bands.append(magnitude[1:] @ np.maximum(slopes, 0)[1:])
        rows.append(np.log(np.array(bands) + 0.01))
    count = len(rows) // 96
    return np.array(rows[: 96 * count]).reshape(count, 96, 64)


@pytest.mark.parametrize("seconds", [1.0, 2.0])
def test_vggish_examples_are_the_published_front_end(seconds: float) -> None:
    samples = (wave(3, seconds) / 32768).astype(np.float32)
    np.testing.assert_allclose(vggish_examples(samples), vggish_by_hand(samples), atol=1e-4)


@pytest.mark.parametrize(
    ("seconds", "hop", "count"), [(0.2, 96, 1), (5.0, 96, 5), (10.0, 96, 10), (10.0, 100, 10)]
)
def test_vggish_gives_as_many_examples_as_fit(seconds: float, hop: int, count: int) -> None:
    samples = (wave(1, seconds) / 32768).astype(np.float32)
    assert vggish_examples(samples, hop).shape == (count, 96, 64)
