"""CAV-MAE in STELLA's form: two encoders, joint blocks, a decoder, MAE and contrastive loss."""

from collections.abc import Callable
from dataclasses import dataclass

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
from avstore.train.systems.cavmae.patches import Patches, all_patches, choose, shuffle


@dataclass(frozen=True)
class Masked:
    """What a masked forward gives, row by row: losses [B] and pooled embeddings [B, D]."""

    mae_audio: Tensor
    mae_video: Tensor
    contrast: Tensor
    audio: Tensor
    video: Tensor

    @property
    def loss(self) -> Tensor:
        """[B]: the sum that is trained (the contrastive part already has its weight)."""
        return self.mae_audio + self.mae_video + self.contrast


class Tower(nn.Module):
    """One modality's encoder: patches and their places in, codes [B, K, D] out."""

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
        """Codes after the own blocks plus the intermediate positions, ready to be joined."""
        # A convolution whose stride is its kernel is a matrix product on the patches that are
        # there, so hidden patches cost nothing.
        weight = self.patch.weight.flatten(1)
        x = nn.functional.linear(patches.flatten(2), weight, self.patch.bias)
        x = x + self.modality + self.pos[0][ids]
        for block in self.blocks:
            x = maybe_checkpoint(self.checkpointing and self.training, block, x)
        return x if self.inter_pos is None else x + self.inter_pos[0][ids]


class CAVMAE(nn.Module):
    """The backbone. `forward` trains; `embed`, `join` and `features` look."""

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
        self.apply(_init)
        for name, tensor in self.named_parameters():
            if "modality" in name or "mask_token" in name:
                nn.init.normal_(tensor, std=0.02)
        if c.compile:
            self.compile_blocks()

    def compile_blocks(self) -> None:
        """Compile block by block: one small graph a shape, whatever a method does around it."""
        for module in self.modules():
            if isinstance(module, Block | JointBlock):
                module.compile(dynamic=False)

    # --- the parts -----------------------------------------------------------------------------

    def codes(self, patches: Patches) -> tuple[Tensor, Tensor]:
        """Each modality's own encoder: audio [B, Ka, D], video [B, Kv, D]."""
        audio = self.audio(patches.audio, patches.audio_ids)
        return audio, self.video(patches.video, patches.video_ids)

    def join(self, audio: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """Joint blocks over audio and video together, before the final norm: o_a, o_v."""
        x = self._joint(torch.cat([audio, video], dim=1), "joint")
        return x[:, : audio.shape[1]], x[:, audio.shape[1] :]

    def single(self, codes: Tensor, route: Route) -> Tensor:
        """Joint blocks over one modality with its own norms, and its final norm: c_m."""
        out: Tensor = self.norms[route](self._joint(codes, route))
        return out

    def _joint(self, x: Tensor, route: Route) -> Tensor:
        for block in self.joint:
            x = maybe_checkpoint(self.config.checkpointing and self.training, block, x, route)
        return x

    # --- training ------------------------------------------------------------------------------

    def forward(self, patches: Patches) -> Masked:
        """Mask at random, encode what is left, predict the rest (spec 3.1 and 3.3, step 6).

        However few patches take part, as many stay visible as of the full sequence; all
        others that take part are targets.
        """
        shown, hidden = self.split(patches)
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
            c.contrast_weight * contrast(c_a, c_v, c.temperature, c.bidirectional),
            c_a,
            c_v,
        )

    def split(self, patches: Patches) -> tuple[Patches, Patches]:
        """Visible patches and hidden ones, by a random order of each row."""
        c, device = self.config, patches.video.device
        v = shuffle(len(patches), patches.video.shape[1], device)
        a = shuffle(len(patches), patches.audio.shape[1], device)
        seen_v, seen_a = c.video_visible, c.audio_visible
        return (
            choose(patches, v[:, :seen_v], a[:, :seen_a]),
            choose(patches, v[:, seen_v:], a[:, seen_a:]),
        )

    def patches(self, video: Tensor, audio: Tensor) -> Patches:
        """All patches of a batch."""
        return all_patches(video, audio, self.config)

    # --- looking -------------------------------------------------------------------------------

    @torch.no_grad()
    def embed(self, video: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled embeddings of unmasked input, audio [B, D] and video [B, D], not normalised."""
        codes_a, codes_v = self.codes(self.patches(video, audio))
        a = self.single(codes_a, "audio").float().mean(1)
        return a, self.single(codes_v, "video").float().mean(1)

    def features(self, video: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Joint tokens after the final norm: audio [B, La, D], video [B, Lv, D]."""
        joint_a, joint_v = self.join(*self.codes(self.patches(video, audio)))
        return self.norms["joint"](joint_a), self.norms["joint"](joint_v)

    @staticmethod
    def undecayed(name: str) -> bool:
        """Tables and tokens that weight decay leaves alone (spec 3.1)."""
        return name.rsplit(".", 1)[-1].startswith(("pos", "inter_pos", "modality", "mask_token"))


def maybe_checkpoint(on: bool, block: Callable[..., Tensor], *args: Tensor | Route) -> Tensor:
    """Run a block, keeping its activations or computing them again in the backward pass."""
    if on and torch.is_grad_enabled():
        out: Tensor = checkpoint(block, *args, use_reentrant=False)
        return out
    return block(*args)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight.view(len(module.weight), -1))
