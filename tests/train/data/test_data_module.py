"""Lightning trains, validates, tests and predicts from a DataModule, and goes on from its state."""

import subprocess
import sys

import pytest
import torch

from avstore.train.data import Loader
from tests.train.passes import one_pass

lightning = pytest.importorskip("lightning")

from avstore.train.data import DataModule  # noqa: E402 -- needs lightning


class Module(lightning.LightningModule):
    """Notes the clips of each step."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(48, 1)
        self.seen = {"train": [], "val": [], "test": [], "predict": []}

    def _step(self, part, batch):
        self.seen[part].append(batch.clip_ids)
        return self.layer(batch["fbank"][:, 0, :, 0]).sum()

    def training_step(self, batch, batch_idx):
        return self._step("train", batch)

    def validation_step(self, batch, batch_idx):
        self.log("loss", self._step("val", batch))

    def test_step(self, batch, batch_idx):
        self.log("loss", self._step("test", batch))

    def predict_step(self, batch, batch_idx):
        return self._step("predict", batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


def trainer(folder, **options):
    return lightning.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **options,
    )


def epoch(samples, spec, number):
    return [b.clip_ids for b in one_pass(samples, spec, number, seed=3)]


def test_a_run_goes_on_within_an_epoch(toy_list, toy_spec, tmp_path):
    def fit(steps, resume=None):
        module, data = Module(), DataModule(toy_list, toy_spec, evaluation=toy_list, seed=3)
        own = trainer(tmp_path, max_steps=steps)
        own.fit(module, datamodule=data, ckpt_path=resume)
        own.save_checkpoint(tmp_path / "last.ckpt", weights_only=False)
        return module.seen

    first, second = fit(4), fit(8, tmp_path / "last.ckpt")
    whole = epoch(toy_list, toy_spec, 0) + epoch(toy_list, toy_spec, 1)
    assert first["train"] + second["train"] == whole[:8]
    listed = [clip for part in second["val"] for clip in part]
    assert listed == toy_list.clip_ids
    assert not first["val"]


def test_a_further_fit_goes_on_too(toy_list, toy_spec, tmp_path):
    module, data = Module(), DataModule(toy_list, toy_spec, seed=3)
    for steps in (4, 5):
        trainer(tmp_path, max_steps=steps).fit(module, datamodule=data)
    assert module.seen["train"] == (
        epoch(toy_list, toy_spec, 0)[:4]
        + epoch(toy_list, toy_spec, 0)[4:]
        + epoch(toy_list, toy_spec, 1)[:3]
    )


def test_tests_and_predictions_read_the_evaluation_list(toy_list, toy_spec, tmp_path):
    module, data = Module(), DataModule(None, toy_spec, evaluation=toy_list)
    own = trainer(tmp_path)
    own.test(module, datamodule=data, verbose=False)
    own.predict(module, datamodule=data)
    for part in ("test", "predict"):
        assert [clip for ids in module.seen[part] for clip in ids] == toy_list.clip_ids
    with pytest.raises(ValueError, match="nothing to train on"):
        data.train_dataloader()
    assert DataModule(toy_list, toy_spec).val_dataloader() == []


def test_rank_and_world_size_are_the_trainers(toy_list, toy_spec):
    data = DataModule(toy_list, toy_spec, evaluation=toy_list, seed=3)

    class Ranked:
        global_rank, world_size = 1, 2

    data.trainer = Ranked()
    for own in (data.train_dataloader(), data.val_dataloader()):
        assert isinstance(own, Loader)
        assert (own.rank, own.world_size) == (1, 2)
    assert next(iter(data.train_dataloader())).clip_ids == epoch(toy_list, toy_spec, 0)[0][1::2]


def test_a_state_waits_for_the_loader(toy_list, toy_spec):
    data = DataModule(toy_list, toy_spec, seed=3)
    assert data.state_dict() == {}
    loader = data.train_dataloader()
    next(iter(loader))
    other = DataModule(toy_list, toy_spec, seed=3)
    other.load_state_dict(data.state_dict())
    assert other.state_dict() == data.state_dict()
    assert next(iter(other.train_dataloader())).step == 1


def test_without_lightning_one_error_says_so():
    code = (
        "import sys; sys.modules['lightning'] = None\n"
        "from avstore.train.data import *\n"
        "from avstore.train.data import DataModule\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: DataModule needs Lightning: pip install lightning"
    )
