"""UAVM's models: their sizes, their layers and what they refuse."""

import doctest

import pytest
import torch
from pydantic import ValidationError

from avstore.train.systems.uavm import model as model_module
from avstore.train.systems.uavm.model import UAVM
from avstore.train.systems.uavm.model_config import UAVMConfig
from tests.train.systems.uavm.released import checkpoint, features

TINY = UAVMConfig(classes=5, input_width=24, width=16, heads=2, rows=6)


def tiny(**changes: object) -> UAVM:
    torch.manual_seed(0)
    return UAVM(UAVMConfig(**{**TINY.model_dump(), **changes})).eval()


@pytest.mark.parametrize(
    ("shape", "vggsound", "audioset"),
    [
        ({}, 117_541_791, 118_212_141),
        ({"own_depth": 0, "shared_depth": 6}, 79_063_349, 79_286_799),
        ({"own_depth": 6, "shared_depth": 0}, 154_557_652, 155_451_452),
        ({"kind": "independent"}, 156_722_388, 157_616_188),
        ({"kind": "cross_attention"}, 117_572_511, 118_242_861),
    ],
)
def test_parameter_counts_are_the_published_ones(
    shape: dict[str, object], vggsound: int, audioset: int
) -> None:
    for classes, expected in ((309, vggsound), (527, audioset)):
        config = UAVMConfig(classes=classes, **shape)
        with torch.device("meta"):
            parameters = list(UAVM(config).parameters())
        assert sum(p.numel() for p in parameters) == expected
        sizes = (torch.Size(x).numel() for x in checkpoint(config).values())
        assert sum(sizes) == expected


@pytest.mark.parametrize("input_width", [16, 24])
@pytest.mark.parametrize("kind", ["unified", "independent", "cross_attention"])
def test_what_is_trained_is_what_the_logits_depend_on(kind: str, input_width: int) -> None:
    model = tiny(kind=kind, input_width=input_width, own_depth=2, shared_depth=1)
    model(*features(model.config)).sum().backward()
    for name, p in model.named_parameters():
        assert p.requires_grad == (p.grad is not None), name
    assert model.own["audio"].project.weight.requires_grad == (input_width != 16)


def test_one_modality_leaves_the_other_stage_without_gradient() -> None:
    model = tiny()
    model(audio=features(TINY)[0]).sum().backward()
    assert all(p.grad is None for p in model.own["video"].parameters())
    assert model.upper["both"].pos.grad is not None


def test_layers_continue_where_the_last_one_ended() -> None:
    model, (audio, _) = tiny(shared_width=8), features(TINY)
    trace = model.trace(audio, maps="used")
    assert [x.shape[-1] for x in trace.layers] == [16, 16, 16, 16, 8, 8, 8]
    own, upper = model.own["audio"], model.upper["both"]
    assert torch.equal(trace.layers[1], own.blocks[0](trace.layers[0]))
    first = upper.project(upper.norm(trace.layers[3])) + upper.pos
    assert torch.allclose(trace.layers[4], upper.blocks[0](first), atol=1e-6)
    assert torch.allclose(trace.logits, upper.head(trace.layers[6].mean(1)), atol=1e-6)
    assert torch.equal(trace.embeddings[6], trace.layers[6].mean(1))
    assert model.trace(audio).maps == ()


@pytest.mark.parametrize("kind", ["used", "published"])
def test_used_maps_are_those_by_which_the_block_mixes_values(kind: str) -> None:
    model, (audio, _) = tiny(), features(TINY)
    trace = model.trace(audio, maps=kind)
    block, x = model.own["audio"].blocks[1], trace.layers[1]
    values = block.attn.qkv(block.norm1(x))[..., 32:].reshape(3, 6, 2, 8).transpose(1, 2)
    mixed = (trace.maps[1] @ values).transpose(1, 2).reshape(3, 6, 16)
    same = torch.allclose(block.attn.proj(mixed), block.attn(block.norm1(x)), atol=1e-6)
    assert same == (kind == "used")
    assert torch.allclose(trace.maps[1].sum(-1), torch.ones(3, 2, 6))


def test_cross_attention_joins_audio_then_video() -> None:
    model, (audio, video) = tiny(kind="cross_attention"), features(TINY)
    trace = model.trace(audio, video, maps="used")
    assert [tuple(x.shape) for x in trace.layers] == [(3, 12, 16)] * 7
    assert [tuple(x.shape) for x in trace.maps] == [(3, 2, 12, 12)] * 6
    assert torch.equal(trace.layers[3][:, :6], model.own["audio"](audio).layers[3])
    assert not trace.maps[0][:, :, :6, 6:].any()  # own blocks do not see the other modality
    assert trace.maps[3][:, :, :6, 6:].any()
    assert not torch.equal(model(audio, video), model(audio, video.flip(0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shared_width": 10, "heads": 4}, "shared_width by heads: 10 / 4"),
        ({"own_depth": 0, "shared_depth": 0}, "a model needs a block"),
        ({"kind": "cross_attention", "shared_depth": 0}, "no classifier for both"),
        ({"shape": 3}, "Extra inputs"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        UAVMConfig(**{**TINY.model_dump(), **changes})


def test_inputs_that_do_not_fit_are_refused() -> None:
    audio, video = features(TINY)
    with pytest.raises(ValueError, match="have 5 rows and the model takes 6"):
        tiny()(audio=audio[:, :5])
    with pytest.raises(ValueError, match="neither"):
        tiny()()
    with pytest.raises(ValueError, match="one modality at a time; given: audio and video"):
        tiny().trace(audio, video)
    with pytest.raises(ValueError, match="together"):
        tiny(kind="cross_attention")(audio=audio)


def test_the_example_runs() -> None:
    found = doctest.testmod(model_module, extraglobs={"torch": torch, "UAVMConfig": UAVMConfig})
    assert (found.attempted, found.failed) == (4, 0)
