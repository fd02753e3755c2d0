"""Classification as CAV-MAE finetunes and scores it (Gong et al., ICLR 2023)."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from avstore.train.classifier import targets_of
from avstore.train.data import Batch, BatchSpec
from avstore.train.errors import UserError
from avstore.train.systems.cavmae.downstream.classify import Classify
from avstore.train.systems.cavmae.downstream.config import Modality
from avstore.train.systems.cavmae.layers import Route
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.system import batch_spec
from avstore.train.systems.cavmae.weights import load_backbone, read_head


class CAVMAEClassify(Classify):
    """Classifies clips into all classes of their dataset, by the mean of a modality's tokens.

    Loss and headline follow the labels, as in `Classify`: cross-entropy and accuracy with one label
    a clip (VGGSound), binary cross-entropy and mAP with several (AudioSet). Targets are smoothed
    and mixed.
    """

    @property
    def classes(self) -> int:
        """Size of the dataset's vocabulary."""
        return max(samples.classes for samples in self.data.lists)

    def new_head(self) -> nn.Module:
        """Return LayerNorm and Linear, with Xavier weights and no bias at first."""
        width = self.config.model.width
        linear = nn.Linear(width, self.classes)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        return nn.Sequential(nn.LayerNorm(width), linear)

    def load(self, path: Path) -> None:
        """Load the backbone, and the head of a model that was finetuned, by CAV-MAE or here.

        Raises:
            UserError: The file does not fit.
        """
        load_backbone(self.model, path)
        head = read_head(path, ("mlp_head.", "head."))
        if "1.bias" not in head:
            return
        if (found := len(head["1.bias"])) != self.classes:
            raise UserError(
                f"{path} has a head of {found} classes and the clips have {self.classes}; give "
                "weights from before finetuning, or the --stream that they were finetuned on"
            )
        self.head.load_state_dict(head)
        self.has_new_head = False

    def spec(self, *, training: bool) -> BatchSpec:
        """Return a spec with targets over all classes."""
        return batch_spec(
            self.config,
            training=training,
            labels="multi_hot",
            classes=self.classes,
            smoothing=self.config.data.smoothing,
        )

    def logits(self, batch: Batch) -> Tensor:
        """Return logits [B, classes] of the batch's only input."""
        return self.logits_of(batch.frames, batch.fbank)

    def logits_of(self, video: Tensor, audio: Tensor) -> Tensor:
        """Return logits [B, classes] of video [B, T, 3, S, S] and fbank [B, 1, frames, mels]."""
        token = partial(mean_token, self.model, modality=self.config.modality)
        out: Tensor = self.head(self.backbone(token, video, audio))
        return out

    def targets(self, batch: Batch) -> Tensor:
        """Return the loader's targets [B, classes]."""
        return targets_of(batch)

    def final_specs(self) -> list[BatchSpec]:
        """Return one spec, with the frames of all inputs that the final scores average."""
        c, spec = self.config, self.spec(training=False)
        if c.final_frames == 1 or c.modality.startswith("audio"):
            return [spec]
        return [replace(spec, frame_choice="even", frames=c.final_frames * c.model.frames)]

    def probability(self, batch: Batch) -> Tensor:
        """Return probabilities [B, classes], averaged over the batch's inputs."""
        inputs = torch.split(batch.frames, self.config.model.frames, dim=1)
        found = [self.activate(self.logits_of(video, batch.fbank)) for video in inputs]
        return torch.stack(found).mean(0)


def mean_token(model: CAVMAE, video: Tensor, audio: Tensor, modality: Modality) -> Tensor:
    """Return the mean joint token of a clip [B, D].

    Args:
        model: The backbone.
        video: Frames [B, T, 3, S, S].
        audio: Fbanks [B, 1, frames, mels].
        modality: As in `DownstreamConfig`. One modality alone takes its own norms in the joint
            blocks; with "_of_both" the mean over these norms and the joint ones.
    """
    if modality == "both":
        return torch.cat(model.features(video, audio), dim=1).float().mean(1)
    patches, route = model.patches(video, audio), _ROUTES[modality]
    if route == "audio":
        codes = model.audio(patches.audio, patches.audio_ids)
    else:
        codes = model.video(patches.video, patches.video_ids)
    own = model.single(codes, route).float().mean(1)
    if not modality.endswith("_of_both"):
        return own
    return (own + model.single(codes, "joint").float().mean(1)) / 2


_ROUTES: dict[Modality, Route] = {
    "audio": "audio",
    "video": "video",
    "audio_of_both": "audio",
    "video_of_both": "video",
}
