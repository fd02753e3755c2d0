"""A STELLA step in its straightforward form, to compare the trainer's with.

The same mathematics and parameters as train/ without its shortcuts: attention maps are computed as
a whole, all patches are embedded before most are dropped, tokens are sorted back before decoding,
and patches are selected row by row.
"""

import torch
from torch import Tensor, nn

from avstore.train.data import BatchSpec
from avstore.train.methods import find_method
from avstore.train.methods.base import Method, Setup
from avstore.train.methods.stella import STELLA, PatchChoice
from avstore.train.systems.cavmae.decoder import Decoder
from avstore.train.systems.cavmae.matching import matching_loss, pair_up
from avstore.train.systems.cavmae.model import CAVMAE, Tower
from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.cavmae.objective import CAVMAEObjective
from avstore.train.systems.cavmae.patches import Patches
from avstore.train.systems.cavmae.selection import Alignment, importance


class PlainTower(Tower):
    """Embeds all patches with the convolution, then picks the tokens."""

    def forward(self, patches: Tensor, ids: Tensor) -> Tensor:
        """Encode patches, as `Tower.forward` does."""
        length = self.pos.shape[1]
        whole = patches.new_zeros(len(patches), length, *patches.shape[2:])
        for row, places in enumerate(ids):
            whole[row, places] = patches[row]
        flat = whole.flatten(0, 1)
        x = self.patch(flat).reshape(len(patches), length, -1) + self.modality + self.pos
        x = torch.stack([tokens[places] for tokens, places in zip(x, ids, strict=True)])
        for block in self.blocks:
            x = block(x)
        if self.inter_pos is None:
            return x
        return x + torch.stack([self.inter_pos[0][places] for places in ids])


class PlainDecoder(Decoder):
    """Sorts all tokens into their positions before decoding."""

    def forward(
        self, audio: Tensor, video: Tensor, audio_ids: Tensor, video_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict hidden pixels, as `Decoder.forward` does."""
        out = []
        for visible, ids, kind in ((audio, audio_ids, "audio"), (video, video_ids, "video")):
            x = self._fill(self.embed(visible), ids, kind)
            order = ids.argsort(dim=1)
            x = torch.stack([row[o] for row, o in zip(x, order, strict=True)])
            x = self._run(x)
            back = order.argsort(dim=1)
            x = torch.stack([row[o] for row, o in zip(x, back, strict=True)])
            out.append(getattr(self, f"head_{kind}")(x)[:, visible.shape[1] :])
        return out[0], out[1]


class PlainSTELLA(STELLA):
    """Selects patches row by row, with the attention maps of all heads in memory."""

    def align(self, patches: Patches) -> tuple[Alignment, Tensor]:
        """Score patches, as `STELLA.align` does."""
        before, o = importance._importance, self.options
        importance._importance = whole_maps  # type: ignore[assignment]
        try:
            with torch.no_grad():
                audio, video = self.objective.model.codes(patches)
                projected = self.avm.project(*self.objective.model.join(audio, video))
                alignment = importance.localise(projected, o.temperature, self.keep_v, self.keep_a)
                pairing = pair_up(len(patches), audio.device)
                mixed = self.objective.model.join(audio, video[pairing.video])
            return alignment, matching_loss(self.avm(*mixed), pairing.label)
        finally:
            importance._importance = before

    def order_video(self, importance: Tensor, prune: Tensor) -> Tensor:
        """Return a drawn order of video patches [B, Lv]."""
        rows = []
        for own, p in zip(importance, prune, strict=True):
            weight = own * (1 - torch.bernoulli(p))
            drawn = torch.multinomial(weight + 1e-12, len(weight))
            rows.append(drawn)
        return torch.stack(rows)

    def order_audio(self, importance: Tensor, prune: Tensor) -> Tensor:
        """Return a drawn order of audio patches [B, La], in chunks of time."""
        bands = self.objective.model.config.audio_bands
        return torch.stack(
            [
                self._row(i, torch.bernoulli(p), bands)
                for i, p in zip(importance, prune, strict=True)
            ]
        )

    def _row(self, own: Tensor, pruned: Tensor, bands: int) -> Tensor:
        size = bands * self.options.num_core_audio_times
        weight = own.reshape(-1, size).sum(1)
        order, total, chosen = torch.multinomial(weight + 1e-12, len(weight)), 0, []
        for place, chunk in enumerate(order.tolist()):
            own_slice = slice(chunk * size, (chunk + 1) * size)
            total += int((pruned[own_slice] == 0).sum())
            if total <= self.keep_a:
                chosen.append(chunk)
                continue
            free = (pruned[own_slice] == 0).nonzero().flatten() + chunk * size
            excess, at_end = total - self.keep_a, chunk - 1 in chosen
            pruned[free[len(free) - excess :] if at_end else free[:excess]] = 1
            for later in order[place + 1 :].tolist():
                pruned[later * size : (later + 1) * size] = 1
            break
        return pruned.argsort(stable=True)

    def gather(self, patches: Patches, choice: PatchChoice) -> Patches:
        """Return the pixels of the chosen patches."""
        parts = []
        for row in range(len(patches)):
            v, a = choice.order_v[row, : self.keep_v], choice.order_a[row, : self.keep_a]
            parts.append((patches.video[row, v], patches.audio[row, a], v, a))
        return Patches(*(torch.stack(column) for column in zip(*parts, strict=True)))


def whole_maps(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """Return importance from the attention maps of all heads, all in memory."""
    maps = query.float() @ key.float().transpose(-2, -1) * query.shape[-1] ** -0.5
    return (maps / temperature).softmax(-1).mean(dim=(1, 2))


def system(model: CAVMAE) -> CAVMAEObjective:
    """Return a model as a system; what a loader would deliver for it does not matter here."""
    return CAVMAEObjective(model, BatchSpec(1), BatchSpec(1, random=False))


def plain_method(name: str, config: ModelConfig, memory: int) -> Method:
    """Return `finetune` or `stella` in the straightforward form."""
    model = CAVMAE(config.model_copy(update={"attention": "plain", "compile": False}))
    for tower in (model.audio, model.video):
        tower.__class__ = PlainTower
    model.decoder.__class__ = PlainDecoder
    found = PlainSTELLA if name == "stella" else find_method(name)
    sized = {"memory_size": memory} if name == "stella" else {}
    return found(system(model), found.Options(**sized), Setup(memory // 4))


def same_weights(one: nn.Module, other: nn.Module) -> None:
    """Copy the weights of `one` to `other`."""
    other.load_state_dict(one.state_dict())
