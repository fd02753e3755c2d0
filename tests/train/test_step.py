"""A step in parts and a compiled step equal the plain step."""

import pytest
import torch
import torch._inductor.config

from avstore.train import dist
from avstore.train.config import Config
from avstore.train.data import Batch
from avstore.train.errors import UserError
from avstore.train.experiment import build_stepper, check_split
from avstore.train.methods import find_method
from avstore.train.sections import OptimConfig
from avstore.train.step import Stepper
from avstore.train.systems.cavmae import model as cavmae
from avstore.train.systems.cavmae.model import CAVMAE
from tests.train.methods.cases import CONFIG, batch
from tests.train.systems.cavmae.test_model import TINY, inputs


def in_order(rows: int, length: int, device: torch.device) -> torch.Tensor:
    """Return masks that do not depend on the process."""
    return torch.arange(length, device=device).expand(rows, -1)


def stepper(micro_batch: int | None = None, method: str = "finetune", **options: object) -> Stepper:
    """Return a method without contrast, whose negatives would depend on the parts."""
    config = Config(
        name="test", micro_batch=micro_batch, optim=OptimConfig(lr=1e-3), method=method,
        model=CONFIG.model_copy(update={"contrast_weight": 0.0}),
    )  # fmt: skip
    found = find_method(method)
    return build_stepper(config, found, found.Options(**options), torch.device("cpu"))


def loaded(rows: slice = slice(None)) -> Batch:
    made = batch(rows=6, seed=1)
    video, audio = made.video[rows], made.audio[rows]
    return Batch(video, audio, [[]] * len(video), ["x"] * len(video), 0)


def parameters(made: Stepper) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in made.method.parameters()])


def gradients(made: Stepper) -> torch.Tensor:
    found = [p.grad.flatten() for p in made.method.parameters() if p.grad is not None]
    return torch.cat(found)


@pytest.mark.parametrize("parts", [2, 4])  # 4 does not divide 6: parts of 4 and of 2 rows
def test_accumulated_parts_are_the_whole_batch(monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    monkeypatch.setattr(cavmae, "shuffle", in_order)
    whole, split = stepper(), stepper(micro_batch=parts)
    results = [made.step(loaded(), 0) for made in (whole, split)]
    assert results[0]["mae_video"] == pytest.approx(results[1]["mae_video"], rel=1e-5)
    assert torch.allclose(gradients(whole), gradients(split), atol=1e-6)


def test_a_batch_that_cannot_be_shared_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "world_size", lambda: 4)
    with pytest.raises(UserError, match="batch_size 6 cannot be divided among 4 processes"):
        check_split(Config(name="test", batch_size=6))
    check_split(Config(name="test", batch_size=8))


@pytest.mark.slow
@torch._inductor.config.patch({"cpp.simdlen": 1})
def test_compiled_blocks_give_the_same_losses_and_gradients() -> None:
    # With as many audio as video tokens, both encoders compile to the same code: half the time.
    config = TINY.model_copy(update={"fbank_frames": 32})
    plain = CAVMAE(config)
    compiled = CAVMAE(config.model_copy(update={"compile": True}))
    compiled.load_state_dict(plain.state_dict())
    results = []
    for model in (plain, compiled):
        torch.manual_seed(5)
        out = model(model.patches(*inputs(config)))
        out.loss.mean().backward()
        results.append((out.loss.detach(), model.video.pos.grad))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-5)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-6)
