"""The loader inside what people use: stock DataLoader, torchdata, Lightning, Accelerate."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from avstore.train.data import EpochOrder, Loader, Steps
from tests.train.passes import one_pass


@pytest.fixture
def steps(toy_list, toy_spec):
    return Steps(EpochOrder(toy_list, toy_spec, seed=3, epoch=0), toy_spec)


@pytest.fixture
def expected(toy_list, toy_spec):
    return [b.clip_ids for b in Loader(toy_list, toy_spec, seed=3)]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_stock_dataloader_begins_at_any_step(steps, expected, workers):
    kwargs = {"batch_size": None, "num_workers": workers}
    assert [b.clip_ids for b in DataLoader(steps, **kwargs)] == expected
    left = DataLoader(steps, **kwargs)
    assert next(iter(left)).clip_ids == expected[0]
    assert [b.clip_ids for b in left] == expected
    sampler = DataLoader(steps, sampler=range(4, 6), **kwargs)
    assert [b.clip_ids for b in sampler] == expected[4:]


@pytest.mark.parametrize("workers", [0, 2])
def test_torchdatas_stateful_dataloader(steps, expected, workers):
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def loader():
        return stateful(steps, batch_size=None, num_workers=workers)

    first = loader()
    taken = []
    for batch in first:
        taken.append(batch.clip_ids)
        if len(taken) == 3:
            break
    second = loader()
    second.load_state_dict(first.state_dict())
    assert taken + [b.clip_ids for b in second] == expected


def test_accelerate_takes_the_loader_of_each_process(toy_list, toy_spec, expected):
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    loader = Loader(
        toy_list,
        toy_spec,
        seed=3,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    model = accelerator.prepare(torch.nn.Linear(48, 1))
    seen = []
    for batch in loader:
        loss = model(batch.to(accelerator.device).audio[:, 0, :, 0]).sum()
        accelerator.backward(loss)
        seen.append(batch.clip_ids)
    assert seen == expected


def test_lightning_trains_from_it_and_keeps_its_state(toy_list, toy_spec, expected, tmp_path):
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(48, 1)
            self.seen = []

        def training_step(self, batch, _index):
            self.seen.append(batch.clip_ids)
            return self.layer(batch.audio[:, 0, :, 0]).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1e-3)

    def fit(steps, resume=None):
        module = Module()
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_steps=steps,
            max_epochs=-1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, Loader(toy_list, toy_spec, seed=3), ckpt_path=resume)
        trainer.save_checkpoint(tmp_path / "last.ckpt", weights_only=False)
        return module.seen

    first = fit(4)
    second = fit(8, resume=tmp_path / "last.ckpt")
    later = [b.clip_ids for b in one_pass(toy_list, toy_spec, 1, seed=3)]
    assert first + second == expected + later[:2]


PLAIN_SCRIPT = """
from dataclasses import dataclass
print("runs")
from avstore.train.data import BatchSpec, EpochOrder, Loader, open_store, sample_list
samples = sample_list(open_store(ROOT), "SELECT clip_id FROM clips")
spec = BatchSpec(batch_size=8, frames=1, image_size=16, fbank_frames=8)
print(sum(len(batch) for batch in Loader(samples, spec, workers=2)))
"""
OWN_ORDER = """
@dataclass(frozen=True)
class Own(EpochOrder):
    pass
if __name__ == "__main__":
    print(sum(len(batch) for batch in Loader(Own(samples, spec, seed=0), spec, workers=2)))
"""


@pytest.mark.parametrize(("more", "printed"), [("", ["runs", "23"]), (OWN_ORDER, None)])
def test_a_script_needs_no_guard_for_workers(toy_store, tmp_path, more, printed):
    """Without one it is not run again; what it defines itself reaches the workers with one."""
    script = tmp_path / "script.py"
    plain = PLAIN_SCRIPT.replace("ROOT", repr(str(toy_store.root)))
    if more:
        plain = plain.replace(", workers=2", "")
    script.write_text(plain + more)
    ran = subprocess.run(
        [sys.executable, str(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split()[-1] == "23"
    if printed:
        assert ran.stdout.split() == printed
