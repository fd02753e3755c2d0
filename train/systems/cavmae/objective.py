"""CAV-MAE as a system: masked reconstruction and contrast, scored by retrieval."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.clip_scores import ClipScores
from avstore.train.data import Batch, BatchSpec
from avstore.train.evaluation.retrieval import beaten, chance, modality_gap, retrieval
from avstore.train.objective import Objective, Output, Scores, eval_mode
from avstore.train.parameters import ParameterLayout
from avstore.train.systems.cavmae.layout import layout
from avstore.train.systems.cavmae.model import CAVMAE, Masked
from avstore.train.systems.cavmae.patches import Order, Patches
from avstore.train.systems.cavmae.weights import load_backbone
from avstore.train.task_matrix import Measure, retrieval_measure

Ties = Literal["worst", "published"]


class CAVMAEObjective(Objective):
    """Reconstruction of hidden patches and contrast of audio with video.

    Attributes:
        model: The backbone.
        ties: How retrieval ranks equal similarities.
    """

    def __init__(
        self, model: CAVMAE, training: BatchSpec, evaluation: BatchSpec, ties: Ties = "worst"
    ) -> None:
        super().__init__()
        self.model = model
        self.specs = (evaluation, training)
        self.ties: Ties = ties

    def patches(self, batch: Batch) -> Patches:
        """Return all patches of a batch."""
        return self.model.patches(batch.frames, batch.fbank)

    def draw(self, batch: Batch) -> Order:
        """Return a random order of each row's patches, the first of which are shown."""
        return self.model.draw_order(self.patches(batch))

    def forward(self, batch: Batch, draws: Order | None = None) -> Output:
        """Return the masked loss of a batch, with a mask drawn or given."""
        return output(self.on_patches(self.patches(batch), draws))

    def on_patches(self, patches: Patches, order: Order | None = None) -> Masked:
        """Return the masked forward pass on patches that a method has selected."""
        out: Masked = self.model(patches, order)
        return out

    def certainty(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Return each row's probability of its true partner within the batch."""
        a, v = (F.normalize(output.embeddings[name], dim=-1) for name in ("audio", "video"))
        logits = a @ v.T / self.model.config.temperature
        return {"audio": logits.softmax(1).diagonal(), "video": logits.softmax(0).diagonal()}

    @torch.no_grad()
    def scores(self, batches: Iterable[Batch], groups: Mapping[str, Sequence[str]]) -> Scores:
        """Return retrieval both ways, and the modality gap, of each group in one gallery."""
        audio: list[Tensor] = []
        video: list[Tensor] = []
        clip_ids: list[str] = []
        with eval_mode(self):
            for batch in batches:
                for found, own in zip(
                    (audio, video), self.model.embed(batch.frames, batch.fbank), strict=True
                ):
                    found.append(own.cpu())
                clip_ids += batch.clip_ids
        ahead = beaten(torch.cat(audio), torch.cat(video)).tolist()
        self.clip_scores = ClipScores(
            "other clips that its own partner beats", dict(zip(clip_ids, ahead, strict=True))
        )
        return gallery_scores(torch.cat(audio), torch.cat(video), clip_ids, groups, self.ties)

    def weights(self) -> dict[str, Any]:
        """Return the backbone's weights."""
        return self.model.state_dict()

    def load(self, path: Path) -> None:
        """Load the backbone's weights."""
        load_backbone(self.model, path)

    @property
    def layout(self) -> ParameterLayout:
        """Tables, tokens and blocks of the backbone."""
        return layout(self.model.config)

    def measure(self, gallery: int) -> Measure:
        """Return retrieval in a gallery of so many clips as what a task matrix shows."""
        return retrieval_measure(chance(gallery))


def output(masked: Masked) -> Output:
    """Return a masked forward pass as an output."""
    parts = {name: getattr(masked, name) for name in ("mae_audio", "mae_video", "contrast")}
    return Output(masked.loss, parts, {"audio": masked.audio, "video": masked.video})


def gallery_scores(
    audio: Tensor,
    video: Tensor,
    clip_ids: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    ties: Ties,
) -> Scores:
    """Return recalls and modality gaps of embeddings [N, D] of clips, by group and of all."""
    place = {clip_id: row for row, clip_id in enumerate(clip_ids)}
    rows = {name: [place[clip_id] for clip_id in ids] for name, ids in groups.items()}
    scores = retrieval(audio, video, rows, ties)
    for name, own in {**rows, "all": list(range(len(clip_ids)))}.items():
        scores[name]["modality_gap"] = modality_gap(audio[own], video[own])
    return scores
