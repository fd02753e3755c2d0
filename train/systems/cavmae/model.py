"""CAV-MAE, in its own form and in STELLA's: encoders, joint blocks, decoder, two kinds of loss.

Gong et al., ICLR 2023 (CAV-MAE); Lee et al., ICML 2024 (STELLA).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avstore.train.systems.cavmae.decoder import Decoder
from avstore.train.systems.cavmae.layers import (
    ROUTES,
    Block,
    JointBlock,
    Route,
    sincos_2d,
    sincos_audio,
)
from avstore.train.systems.cavmae.losses import contrast, hidden_pixels, reconstruction
from avstore.train.systems.cavmae.model_config import ModelConfig
from avstore.train.systems.cavmae.patches import (
    Order,
    Patches,
    all_patches,
    select_patches,
    shuffle,
    structured_shuffle,
)


@dataclass(frozen=True)
class Masked:
    """Output of a masked forward pass, by row.

    Attributes:
        mae_audio: Reconstruction loss of hidden audio patches [B].
        mae_video: Reconstruction loss of hidden video patches [B].
        contrast: Contrastive loss, times its weight, [B].
        audio: Pooled audio embeddings [B, D].
        video: Pooled video embeddings [B, D].
    """

    mae_audio: Tensor
    mae_video: Tensor
    contrast: Tensor
    audio: Tensor
    video: Tensor

    @property
    def loss(self) -> Tensor:
        """The sum that is trained [B]."""
        return self.mae_audio + self.mae_video + self.contrast


class Tower(nn.Module):
    """Encoder of one modality."""

    def __init__(self, config: ModelConfig, channels: int, side: int, table: Tensor) -> None:
        super().__init__()
        c = config
        self.checkpointing = c.checkpointing
        self.patch = nn.Conv2d(channels, c.width, kernel_size=side, stride=side)
        self.modality = nn.Parameter(torch.zeros(1, 1, c.width))
        self.pos = nn.Parameter(table[None].clone(), requires_grad=c.learned_pos)
        self.inter_pos = (
            nn.Parameter(table[None].clone(), requires_grad=c.learned_pos) if c.inter_pos else None
        )
        self.blocks = nn.ModuleList(
            Block(c.width, c.heads, c.mlp_ratio, c.norm_eps, c.attention) for _ in range(c.depth)
        )

    def forward(self, patches: Tensor, ids: Tensor) -> Tensor:
        """Encode patches.

        Args:
            patches: Pixels [B, K, C, p, p].
            ids: Positions in the full sequence [B, K].

        Returns:
            Codes with the intermediate positions added [B, K, D].
        """
        # A convolution with stride = kernel is a matrix product of the given patches, so hidden
        # patches cost nothing.
        weight = self.patch.weight.flatten(1)
        x = nn.functional.linear(patches.flatten(2), weight, self.patch.bias)
        x = x + self.modality + self.pos[0][ids]
        for block in self.blocks:
            x = maybe_checkpoint(self.checkpointing and self.training, block, x)
        return x if self.inter_pos is None else x + self.inter_pos[0][ids]


class CAVMAE(nn.Module):
    """The backbone: `forward` for training, `embed` and `features` for evaluation."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        audio_table = sincos_audio(c.width, c.audio_steps, c.audio_bands, c.audio_pos)
        video_table = sincos_2d(c.width, c.video_grid, c.video_grid).repeat(c.frames, 1)
        self.audio = Tower(c, 1, c.audio_patch, audio_table)
        self.video = Tower(c, 3, c.patch, video_table)
        self.joint = nn.ModuleList(
            JointBlock(c.width, c.heads, c.mlp_ratio, c.norm_eps, c.attention)
            for _ in range(c.joint_depth)
        )
        self.norms = nn.ModuleDict({route: nn.LayerNorm(c.width, c.norm_eps) for route in ROUTES})
        self.decoder = Decoder(c)
        self.apply(partial(_init, xavier=c.linear_init == "xavier"))
        for name, tensor in self.named_parameters():
            if "modality" in name or "mask_token" in name:
                nn.init.normal_(tensor, std=0.02)
        if c.compile:
            self.compile_blocks()

    def compile_blocks(self) -> None:
        """Compile each block by itself: small graphs that fit every method."""
        for module in self.modules():
            if isinstance(module, Block | JointBlock):
                module.compile(dynamic=False)

    def codes(self, patches: Patches) -> tuple[Tensor, Tensor]:
        """Encode each modality by itself: audio [B, Ka, D], video [B, Kv, D]."""
        audio = self.audio(patches.audio, patches.audio_ids)
        return audio, self.video(patches.video, patches.video_ids)

    def join(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """Run the joint blocks on audio [B, Ka, D] and video [B, Kv, D] together.

        Returns:
            Joint tokens before the final norm, o_a [B, Ka, D] and o_v [B, Kv, D].
        """
        x = self._joint(torch.cat([audio, video], dim=1), "joint")
        return x[:, : audio.shape[1]], x[:, audio.shape[1] :]

    def single(self, codes: Tensor, route: Route) -> Tensor:
        """Run the joint blocks on one modality, with its norms, c_m [B, K, D]."""
        out: Tensor = self.norms[route](self._joint(codes, route))
        return out

    def _joint(self, x: Tensor, route: Route) -> Tensor:
        for block in self.joint:
            x = maybe_checkpoint(self.config.checkpointing and self.training, block, x, route)
        return x

    def forward(self, patches: Patches, order: Order | None = None) -> Masked:
        """Mask at random, encode the visible patches and predict the hidden ones.

        The number of visible patches is that of the full sequence even if a method has selected
        fewer patches; all others that it has selected are hidden.

        Args:
            patches: The patches.
            order: Order of `draw_order`, for copies that shall see the same mask; drawn if None.
        """
        shown, hidden = self.split(patches, order)
        audio, video = self.codes(shown)
        joint_a, joint_v = self.join(audio, video)
        predicted_a, predicted_v = self.decoder(
            self.norms["joint"](joint_a),
            self.norms["joint"](joint_v),
            torch.cat([shown.audio_ids, hidden.audio_ids], dim=1),
            torch.cat([shown.video_ids, hidden.video_ids], dim=1),
        )
        c_a = self.single(audio, "audio").float().mean(1)
        c_v = self.single(video, "video").float().mean(1)
        c = self.config
        return Masked(
            reconstruction(predicted_a, hidden_pixels(hidden.audio, c.norm_pix)),
            reconstruction(predicted_v, hidden_pixels(hidden.video, c.norm_pix)),
            c.contrast_weight * contrast(c_a, c_v, c.temperature, c.bidirectional, c.negatives),
            c_a,
            c_v,
        )

    def draw_order(self, patches: Patches) -> Order:
        """Return a random order of each row's patches."""
        device = patches.video.device
        video = shuffle(len(patches), patches.video.shape[1], device)
        if self.config.mask_mode != "unstructured":
            return Order(video, structured_shuffle(patches.audio_ids, self.config))
        return Order(video, shuffle(len(patches), patches.audio.shape[1], device))

    def split(self, patches: Patches, order: Order | None = None) -> tuple[Patches, Patches]:
        """Return visible and hidden patches, by an order of each row (drawn if None)."""
        order = order or self.draw_order(patches)
        v, a = order.video, order.audio
        seen_v, seen_a = self.config.video_visible, self.config.audio_visible
        return (
            select_patches(patches, v[:, :seen_v], a[:, :seen_a]),
            select_patches(patches, v[:, seen_v:], a[:, seen_a:]),
        )

    def patches(self, video: Tensor, audio: Tensor) -> Patches:
        """Return all patches of video [B, T, 3, S, S] and fbank [B, 1, frames, mels]."""
        return all_patches(video, audio, self.config)

    @torch.no_grad()
    def embed(self, video: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled embeddings of unmasked input, unnormalised: audio [B, D], video [B, D]."""
        codes_a, codes_v = self.codes(self.patches(video, audio))
        a = self.single(codes_a, "audio").float().mean(1)
        return a, self.single(codes_v, "video").float().mean(1)

    def features(self, video: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Return joint tokens after the final norm: audio [B, La, D], video [B, Lv, D]."""
        joint_a, joint_v = self.join(*self.codes(self.patches(video, audio)))
        return self.norms["joint"](joint_a), self.norms["joint"](joint_v)


def maybe_checkpoint(on: bool, block: Callable[..., Tensor], *args: Tensor | Route) -> Tensor:
    """Run a block, with activation checkpointing if `on` and gradients are enabled."""
    if on and torch.is_grad_enabled():
        out: Tensor = checkpoint(block, *args, use_reentrant=False)
        return out
    return block(*args)


def _init(module: nn.Module, xavier: bool) -> None:
    if isinstance(module, nn.Linear):
        if xavier:
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight.view(len(module.weight), -1))
