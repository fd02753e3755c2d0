"""Test every extractor on a stored clip, with random weights and the published shapes."""

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg
import torch

from avstore.datasets import ave
from avstore.manifests.members import member_ranges
from avstore.manifests.shard_reader import LocalReader, Shard
from avstore.manifests.store import StoreError
from avstore.pipelines.build.shard_tar import ShardTar
from avstore.pipelines.extract.audio import encode_flac
from avstore.pipelines.features.extractor import check_value
from avstore.pipelines.features.extractors import clap, clip, convnext, valor
from avstore.pipelines.features.extractors.convnext import (
    CONVNEXT_STEM,
    ConvNextAudio,
    ConvNextVisual,
)
from avstore.pipelines.features.extractors.valor_prompts import (
    CLAP_PROMPTS,
    CLASSES,
    CLIP_PROMPTS,
    VALOR_CLASSES,
    VALOR_LABELS,
)
from avstore.pipelines.features.huggingface import clap_config, load_model, rename_laion_tensors
from avstore.pipelines.features.registry import make_extractor, references
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import Weights, WeightsError, resolve_weights
from tests.pipelines.features.media import picture, wave

RANDOM = Weights("random", "0" * 64, seed=7)


def stored(
    tmp_path: Path,
    frames: int = 3,
    seconds: float = 1.0,
    labels: tuple[str, ...] | None = None,
    sound: bytes | None = None,
) -> StoredClip:
    """Write a clip's members to one file and return the clip."""
    fbank = io.BytesIO()
    np.save(fbank, np.random.default_rng(1).normal(-5, 4, (998, 128)).astype(np.float16))
    flac = sound or encode_flac(wave(1, seconds), 16000)
    members = {"fbank.npy": fbank.getvalue(), "flac": flac}
    for i in range(frames):
        members[f"f{i:03d}.jpg"] = simplejpeg.encode_jpeg(picture(i), quality=90)
    with (tmp_path / "k.tar").open("wb") as file:
        tar = ShardTar(file)
        offsets = [tar.add(f"k.{name}", content) for name, content in members.items()]
        tar.close()
    sizes = [len(content) for content in members.values()]
    ranges = member_ranges(Shard("k.tar", "", 0), "llp/k", " ".join(members), offsets, sizes)
    return StoredClip("llp/k", LocalReader(str(tmp_path)), ranges, 10.0, labels)


@pytest.fixture
def clip_file(tmp_path: Path):
    return stored(tmp_path, labels=("Dog", "Singing"))


def compute(extractor, given: StoredClip, weights: Weights = RANDOM) -> np.ndarray:
    run = extractor.load(weights, "cpu")
    value = extractor.value(np.asarray(run(extractor.items(given))), given)
    check_value(extractor, value, given.clip_id)
    return value


CASES = [
    ("clip-vitl14", {"model": "tiny"}, (10, 16)),
    ("clip-vitl14", {"model": "tiny", "fit": "crop", "frames": 4}, (4, 16)),
    ("clap-segments", {"model": "tiny"}, (10, 16)),
    ("clap-map", {"model": "tiny"}, (64, 64)),
    ("vggish", {"segments": 2}, (2, 128)),
    ("resnet152", {"frames": 2}, (2, 2048)),
    ("r2plus1d18", {"frames": 8}, (1, 512)),
    ("convnext-visual", {}, (3, 1024)),
    ("convnext-audio", {}, (30, 1024)),
    ("valor-clip-labels", {"model": "tiny"}, (10, 25)),
    ("valor-clap-labels", {"model": "tiny"}, (10, 25)),
]


@pytest.mark.parametrize(("name", "parameters", "shape"), CASES)
def test_values_have_the_published_shape_and_repeat(
    clip_file: StoredClip, name: str, parameters: dict, shape: tuple[int, ...]
) -> None:
    extractor = make_extractor(name, parameters)
    value = compute(extractor, clip_file)
    assert value.shape == shape
    if extractor.dtype == "int64":
        assert set(np.unique(value)) <= {0, 1}
    else:
        assert len(np.unique(value)) > 1
    again = compute(extractor, clip_file)
    np.testing.assert_array_equal(value, again)


def test_default_shapes_are_the_published_ones() -> None:
    shapes = {
        name: (make_extractor(name).shape, make_extractor(name).dtype) for name in references()
    }
    expected = {
        "clip-vitl14": ((10, 768), "float32"),
        "clip-vitl14-text": ((768,), "float32"),
        "clap-segments": ((10, 512), "float32"),
        "clap-map": ((64, 768), "float32"),
        "clap-text": ((512,), "float32"),
        "vggish": ((10, 128), "float32"),
        "resnet152": ((80, 2048), "float32"),
        "r2plus1d18": ((10, 512), "float32"),
        "convnext-visual": ((None, 1024), "float16"),
        "convnext-audio": ((30, 1024), "float32"),
        "valor-clip-labels": ((10, 25), "int64"),
        "valor-clap-labels": ((10, 25), "int64"),
        "segmentation": ((None,), "uint8"),
    }
    assert {name: shapes[name] for name in expected} == expected
    assert make_extractor("convnext-audio", {"length": "1000"}).shape == (31, 1024)


def test_ten_frames_are_first_to_last(tmp_path: Path) -> None:
    given = stored(tmp_path, frames=80)
    taken = given.evenly(10)
    everything = given.frames()
    wanted = [0, 9, 18, 26, 35, 44, 53, 61, 70, 79]
    for picture_, index in zip(taken, wanted, strict=True):
        np.testing.assert_array_equal(picture_, everything[index])


def test_stored_audio_is_decoded_losslessly(clip_file: StoredClip) -> None:
    np.testing.assert_array_equal(clip_file.waveform(), wave(1) / np.float32(32768))
    assert len(clip_file.waveform(48000)) == 3 * len(wave(1))


def test_sound_of_several_channels_is_refused_and_not_read_as_a_longer_one(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=24000)
        stream.codec_context.format, stream.codec_context.layout = "s16", "4.0"
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 4 * 2400), np.int16), format="s16", layout="4.0"
        )
        frame.sample_rate, frame.pts = 24000, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    given = stored(tmp_path, sound=buffer.getvalue())
    with pytest.raises(StoreError, match="flac of llp/k cannot be decoded: it has 4 channels"):
        given.waveform()


def test_image_features_are_projected_and_of_length_one(clip_file: StoredClip) -> None:
    value = compute(clip.ClipImage(model="tiny"), clip_file)
    np.testing.assert_allclose(np.linalg.norm(value, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["clip-vitl14-text", "clap-text"])
def test_text_features_are_of_a_label(name: str) -> None:
    extractor = make_extractor(name, {"model": "tiny"})
    values = [compute(extractor, StoredClip("d/l", text=text)) for text in ("Dog", "Cat", "Dog")]
    assert values[0].shape == (16,)
    np.testing.assert_array_equal(values[0], values[2])
    assert not np.allclose(values[0], values[1])


def test_padding_does_not_change_a_text_feature() -> None:
    extractor = make_extractor("clip-vitl14-text", {"model": "tiny"})
    run = extractor.load(RANDOM, "cpu")
    alone = run(np.array(["a dog"]))
    beside = run(np.array(["a dog", "a photo of many more words than that"]))
    np.testing.assert_allclose(alone[0], beside[0], atol=1e-5)


def test_valors_sentences_and_thresholds_are_the_published_ones() -> None:
    assert len(VALOR_CLASSES) == 25
    assert CLIP_PROMPTS["Vacuum_cleaner"] == "A photo of a vaccum cleaner."
    assert CLIP_PROMPTS["Acoustic_guitar"] == "A photo of a acoustic guiter."
    assert CLAP_PROMPTS["Baby_cry_infant_cry"] == "This is a sound of baby cry, infant cry"
    clip_thresholds = "20 15 18 14 15 18 18 15 15 15 15 18 15 15 15 15 15 15 15 16 14 15 15 15 18"
    clap_thresholds = "0 0 1 4 6 -2 4 4 2 2 2 1 2 3 0 2 2 2 0 2 -1 2 3 3 0"
    assert [each.clip_threshold for each in VALOR_CLASSES] == [*map(float, clip_thresholds.split())]
    assert [each.clap_threshold for each in VALOR_CLASSES] == [*map(float, clap_thresholds.split())]


def test_pseudo_labels_are_strictly_above_and_among_the_clips_own() -> None:
    given = StoredClip("llp/k", labels=("Speech", "Dog"))
    logits = np.full((10, 25), 100, np.float32)
    logits[0, 0], logits[1, 0], logits[2, 3] = 20.0, np.nextafter(np.float32(20), 99), 13.9
    found = valor.pseudo_labels(logits, [each.clip_threshold for each in VALOR_CLASSES], given)
    assert found.dtype == np.int64
    assert set(np.flatnonzero(found.any(0))) == {0, 3}
    assert found[:3, 0].tolist() == [0, 1, 1]
    assert found[:3, 3].tolist() == [1, 1, 0]


def test_a_label_that_is_not_llps_is_refused() -> None:
    with pytest.raises(StoreError, match="'Piano', which is not one of LLP's 25"):
        valor.pseudo_labels(np.zeros((10, 25)), [0.0] * 25, StoredClip("llp/k", labels=("Piano",)))


def test_aves_sentences_are_those_of_llp_or_of_their_form_with_the_medians() -> None:
    known = {each.label: each for each in CLASSES["ave"]}
    assert [*known] == [label.label for label in ave.vocabulary()]
    same = known["Frying (food)"]
    assert (same.clip_prompt, same.clap_prompt) == (
        CLIP_PROMPTS["Frying_(food)"],
        "This is a sound of frying (food)",
    )
    assert (same.clip_threshold, same.clap_threshold) == (18, -2)
    own = known["Church bell"]
    assert own.clip_prompt == "A photo of a church bell."
    assert (own.clip_threshold, own.clap_threshold) == (15, 2)
    assert len({each.clip_prompt for each in CLASSES["ave"]}) == 28


def test_pseudo_labels_of_ave_have_its_classes(clip_file: StoredClip) -> None:
    given = replace(clip_file, clip_id="ave/k", labels=("Horse",))
    for name in ("valor-clip-labels", "valor-clap-labels"):
        extractor = make_extractor(name, {"model": "tiny", "dataset": "ave"})
        assert extractor.shape == (10, 28)
        assert compute(extractor, given).shape == (10, 28)
        with pytest.raises(StoreError, match=r"'Horse', .* LLP's 25; .* give --set dataset=ave"):
            make_extractor(name, {"model": "tiny"}).value(np.zeros((10, 25)), given)
        with pytest.raises(StoreError, match=r"dataset='avs' has no sentences .* one of llp, ave"):
            make_extractor(name, {"dataset": "avs"})


def test_pseudo_labels_follow_the_features(clip_file: StoredClip) -> None:
    """The logits equal those of image and text features computed separately."""
    labels = valor.ValorClipLabels(model="tiny")
    logits = labels.load(RANDOM, "cpu")(labels.items(clip_file))
    images = compute(clip.ClipImage(model="tiny"), clip_file)
    text = clip.ClipText(model="tiny", prompts="valor")
    run = text.load(RANDOM, "cpu")
    sentences = [text.items(StoredClip("llp/l", text=label))[0] for label in VALOR_LABELS]
    scale = np.exp(2.6592)
    np.testing.assert_allclose(logits, scale * images @ run(np.array(sentences)).T, atol=1e-3)


def test_audio_is_cut_into_ten_chunks_that_cover_it(tmp_path: Path) -> None:
    given = stored(tmp_path, seconds=1.0)
    chunks = clap.ClapSegments().items(given)
    assert chunks.shape == (10, 4800)
    map_ = clap.ClapMap().items(given)
    assert map_.shape == (1, 480000)
    np.testing.assert_array_equal(map_[0, [0, -1]], [chunks[0, 0], chunks[-1, -1]])


def test_the_map_is_htsats_tokens_by_group_and_time(clip_file: StoredClip) -> None:
    extractor = clap.ClapMap(model="tiny")
    value = compute(extractor, clip_file)
    model = load_model("ClapModel", clap_config("tiny"), RANDOM).eval()
    mel = clap.clap_mel(torch.from_numpy(extractor.items(clip_file)))
    with torch.inference_mode():
        whole = model.audio_model(
            input_features=mel, is_longer=torch.zeros(1, 1, dtype=torch.bool)
        ).last_hidden_state
    assert whole.shape == (1, 64, 2, 32)
    np.testing.assert_allclose(value[33], whole[0, :, 1, 1], rtol=1e-5, atol=1e-6)


def test_the_one_channel_stem_is_the_sum_over_rgb(tmp_path: Path) -> None:
    from torchvision.models import convnext_base

    model = convnext_base()
    path = tmp_path / "w.pth"
    torch.save({f"module.{k}": v for k, v in model.state_dict().items()}, path)
    one = convnext._trunk(Weights("file", None, path=str(path)), one_channel=True).eval()
    grey = torch.rand(1, 1, 32, 64)
    with torch.inference_mode():
        theirs = model.eval().features(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(one(grey), theirs, rtol=1e-3, atol=1e-4)
    assert one[0][0].weight.shape == (128, 1, 4, 4)


def test_uavms_released_extractors_load(tmp_path: Path) -> None:
    """The names of vgg_audio_feat.pth: its class numbers torchvision's children."""
    from torchvision.models import convnext_base

    model = convnext_base()
    model.features[0][0] = torch.nn.Conv2d(1, 128, kernel_size=4, stride=4)
    model.classifier[2] = torch.nn.Linear(1024, 309)
    numbers = {"features": "0", "classifier": "2"}
    state = {}
    for name, tensor in model.state_dict().items():
        child, rest = name.split(".", 1)
        state[f"module.model.{numbers[child]}.{rest}"] = tensor
    assert state["module.model.2.2.weight"].shape == (309, 1024)
    path = tmp_path / "vgg_audio_feat.pth"
    torch.save(state, path)
    trunk = convnext._trunk(Weights("file", None, path=str(path)), one_channel=True).eval()
    for name, tensor in trunk.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[f"features.{name}"]), name
    state["module.model.0.7.3.surprise"] = torch.zeros(1)
    torch.save(state, path)
    with pytest.raises(WeightsError, match=r"7\.3\.surprise"):
        convnext._trunk(Weights("file", None, path=str(path)), one_channel=True)


def test_spectra_are_filled_before_they_are_normalised() -> None:
    extractor = ConvNextAudio()
    prepared = extractor.prepare(np.full((900, 128), -5.081, np.float32))
    assert prepared.shape == (990, 128)
    assert abs(prepared[:900]).max() < 1e-5
    np.testing.assert_allclose(prepared[900:], 5.081 / 4.4849, rtol=1e-5)
    with pytest.raises(StoreError, match="needs 128 mel bands, but the recipe has 64"):
        extractor.prepare(np.zeros((900, 64), np.float32))


def laion_names(state: dict) -> dict:
    """Convert a ClapModel's tensors to laion-clap's names and layout."""
    pairs = [
        ("text_model.", "text_branch."),
        ("audio_model.audio_encoder.", "audio_branch."),
        (".batch_norm.", ".bn0."),
        (".layernorm_before.", ".norm1."),
        (".layernorm_after.", ".norm2."),
        (".attention.output.dense.", ".attn.proj."),
        (".attention.self.relative", ".attn.relative"),
        ("_projection.linear1.", "_projection.0."),
        ("_projection.linear2.", "_projection.2."),
    ]
    made = {"audio_transform.sequential.0.weight": torch.zeros(2, 2)}
    for name, tensor in state.items():
        if name.startswith("audio_model"):
            for new, old in [*pairs[1:7], (".intermediate.dense.", ".mlp.fc1.")]:
                name = name.replace(new, old)  # noqa: PLW2901
            name = name.replace(".output.dense.", ".mlp.fc2.")  # noqa: PLW2901
        for new, old in [pairs[0], *pairs[7:]]:
            name = name.replace(new, old)  # noqa: PLW2901
        if ".attention.self.query" in name and "audio_branch" in name:
            thirds = [
                state[
                    name.replace("audio_branch.", "audio_model.audio_encoder.").replace(
                        "query", part
                    )
                ]
                for part in ("query", "key", "value")
            ]
            made[name.replace(".attention.self.query.", ".attn.qkv.")] = torch.cat(thirds)
        elif not (".attention.self." in name and "audio_branch" in name):
            made[name] = tensor
    return {f"module.{name}": tensor for name, tensor in made.items()}


def test_a_laion_checkpoint_fits(tmp_path: Path, clip_file: StoredClip) -> None:
    model = load_model("ClapModel", clap_config("tiny"), RANDOM)
    theirs = laion_names(dict(model.state_dict()))
    assert not [name for name in theirs if "audio_model" in name]
    assert set(rename_laion_tensors(theirs)) <= set(model.state_dict())
    path = tmp_path / "630k.pt"
    torch.save({"epoch": 1, "state_dict": theirs}, path)
    extractor = clap.ClapSegments(model="tiny")
    loaded = compute(extractor, clip_file, Weights("file", None, path=str(path)))
    np.testing.assert_array_equal(loaded, compute(extractor, clip_file))


def test_a_models_folder_is_weights(tmp_path: Path, clip_file: StoredClip) -> None:
    from avstore.pipelines.features.huggingface import byte_clip_tokenizer, clip_config

    folder = tmp_path / "model"
    load_model("CLIPModel", clip_config("tiny"), RANDOM).save_pretrained(folder)
    byte_clip_tokenizer().save_pretrained(folder)
    weights = resolve_weights(None, folder, None)
    for name in ("clip-vitl14", "valor-clip-labels"):
        extractor = make_extractor(name, {"model": "tiny"})
        np.testing.assert_array_equal(
            compute(extractor, clip_file, weights), compute(extractor, clip_file)
        )
    (folder / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="changed: sha256"):
        weights.check()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a checkpoint", "is not a readable checkpoint"),
        ({"layer.weight": torch.zeros(1)}, "have no features.0.0.weight"),
        ({CONVNEXT_STEM: torch.zeros(128, 3, 4, 4)}, "tensors are missing"),
    ],
)
def test_weights_of_something_else_are_refused(tmp_path: Path, content, message: str) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(WeightsError, match=message):
        ConvNextVisual().load(resolve_weights(None, path, None), "cpu")


def test_no_extractor_imports_a_model_library_before_it_is_loaded() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from avstore.pipelines.features.registry import make_extractor, references; "
        "import avstore.pipelines.cli.features; [make_extractor(name) for name in references()]; "
        "print([m for m in ('torch', 'transformers', 'torchvision') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
