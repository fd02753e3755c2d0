"""Segmentation head: AVSBench's decoder (Zhou et al., ECCV 2022) on the joint blocks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.model_config import ModelConfig

DILATIONS = (3, 6, 12, 18)


class Dilated(nn.Module):
    """The sum of convolutions of several dilations."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, out, 3, padding=d, dilation=d) for d in DILATIONS
        )
        for branch in self.branches:
            nn.init.normal_(branch.weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, C, H, W] -> [N, out, H, W]."""
        return torch.stack([branch(x) for branch in self.branches]).sum(0)


class PixelAudioFusion(nn.Module):
    """TPAVI (Zhou et al., ECCV 2022): every pixel attends to the clip's frames and audio.

    Dot-product attention without a softmax is summed over pixels first, which is linear in their
    number and equal to the quadratic form.
    """

    def __init__(self, channels: int, audio: int) -> None:
        super().__init__()
        inner = channels // 2
        self.align = nn.Linear(audio, channels)
        self.theta, self.phi, self.g = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        scale = nn.BatchNorm2d(channels)
        self.out = nn.Sequential(nn.Conv2d(inner, channels, 1), scale)
        self.norm = nn.LayerNorm(channels)
        nn.init.zeros_(scale.weight)  # at first nothing is added

    def forward(self, x: Tensor, audio: Tensor) -> Tensor:
        """Fuse x [B, T, C, H, W] and audio [B, T, A] -> [B, T, C, H, W]."""
        batch, frames, _, height, width = x.shape
        flat = x.flatten(0, 1)
        sound = self.align(audio).flatten(0, 1)[:, :, None, None].expand(-1, -1, height, width)
        query, key, value = (
            part.reshape(batch, frames, -1, height * width).transpose(1, 2).flatten(2)
            for part in (self.theta(flat), self.phi(sound), self.g(flat))
        )
        summed = torch.einsum("bkn,bvn->bkv", key, value) / key.shape[-1]
        mixed = torch.einsum("bkn,bkv->bvn", query, summed)
        mixed = mixed.reshape(batch, -1, frames, height, width).transpose(1, 2).flatten(0, 1)
        found = (flat + self.out(mixed)).permute(0, 2, 3, 1)
        normed: Tensor = self.norm(found).permute(0, 3, 1, 2)
        return normed.reshape(x.shape)


class Residual(nn.Module):
    """The residual unit of RefineNet.

    Args:
        channels: Channels in and out.
        relu_skip: Add relu(x) instead of x, as the released code does: its first ReLU works in
            place.
    """

    def __init__(self, channels: int, relu_skip: bool) -> None:
        super().__init__()
        self.relu_skip = relu_skip
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map x [N, C, H, W] -> [N, C, H, W]."""
        shown = F.relu(x)
        found: Tensor = self.second(F.relu(self.first(shown)))
        return found + (shown if self.relu_skip else x)


class Refine(nn.Module):
    """The fusion block of RefineNet, as AVSBench uses it: residual units and upsampling."""

    def __init__(self, channels: int, relu_skip: bool) -> None:
        super().__init__()
        self.first, self.second = (Residual(channels, relu_skip) for _ in range(2))

    def forward(self, x: Tensor, coarser: Tensor | None = None) -> Tensor:
        """Add a coarser map to x, both [N, C, H, W], refine -> [N, C, 2H, 2W]."""
        if coarser is not None:
            x = coarser + self.first(x)
        return upsample(self.second(x))


class SegmentationHead(nn.Module):
    """Maps hidden activations of the last two joint blocks and the audio to a mask a frame.

    Args:
        config: The backbone's shape.
        channels: Channels of the maps.
        audio: Width of the audio.
        relu_skip: See `Residual`.
    """

    def __init__(
        self,
        config: ModelConfig,
        channels: int = 256,
        audio: int = 128,
        *,
        relu_skip: bool = False,
    ) -> None:
        super().__init__()
        self.grid, self.frames = config.video_grid, config.frames
        self.image_size = config.image_size
        hidden = int(config.width * config.mlp_ratio)
        self.reduce = nn.ModuleList(nn.Linear(hidden, 2 * channels) for _ in range(2))
        self.dilated = nn.ModuleList(Dilated(2 * channels, channels) for _ in range(2))
        self.audio = nn.Linear(config.width, audio)
        self.fuse = nn.ModuleList(PixelAudioFusion(channels, audio) for _ in range(2))
        self.refine = nn.ModuleList(Refine(channels, relu_skip) for _ in range(2))
        self.narrow = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.last = nn.Sequential(
            nn.Conv2d(channels // 2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1)
        )

    def forward(self, hidden: tuple[Tensor, Tensor], audio: Tensor) -> Tensor:
        """Return the logits of masks.

        Args:
            hidden: Hidden activations of the last two joint blocks, each [B, Lv, H].
            audio: Joint audio tokens before the final norm [B, La, D].

        Returns:
            Logits [B, T, 1, S, S].
        """
        sound = self.audio(audio.float().mean(1))[:, None].expand(-1, self.frames, -1)
        maps = []
        # The earlier block gives the finer map: 4 times the token grid; the later one 2 times.
        for number, (x, scale) in enumerate(zip(hidden, (4, 2), strict=True)):
            rows = self.reduce[number](x.float())
            grid = rows.reshape(-1, self.grid, self.grid, rows.shape[-1]).permute(0, 3, 1, 2)
            size = (scale * self.grid, scale * self.grid)
            image = self.dilated[number](F.interpolate(grid, size=size, mode="bicubic"))
            fused = self.fuse[number](image.reshape(-1, self.frames, *image.shape[1:]), sound)
            maps.append(fused.flatten(0, 1))
        merged = self.refine[0](maps[0], self.refine[1](maps[1]))
        logits = self.last(upsample(self.narrow(merged)))
        if logits.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            logits = F.interpolate(logits, size=size, mode="bilinear")
        out: Tensor = logits.reshape(len(audio), self.frames, *logits.shape[1:])
        return out


def upsample(x: Tensor) -> Tensor:
    """Upsample x [N, C, H, W] -> [N, C, 2H, 2W], bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def joint_hidden(
    model: CAVMAE, video: Tensor, audio: Tensor
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the input of the second MLP layer of the last two joint blocks, and audio tokens.

    A model with a single joint block gives that block twice.

    Args:
        model: The backbone.
        video: Frames [B, T, 3, S, S].
        audio: Fbanks [B, 1, frames, mels].

    Returns:
        Hidden activations of the video tokens, two of [B, Lv, H], and joint audio tokens before
        the final norm [B, La, D].
    """
    hidden: list[Tensor] = []
    blocks = [model.joint[max(0, len(model.joint) - 2)], model.joint[len(model.joint) - 1]]
    hooks = [
        block.mlp.fc2.register_forward_pre_hook(lambda _m, args: hidden.append(args[0]))  # type: ignore[union-attr]
        for block in dict.fromkeys(blocks)
    ]
    try:
        tokens, _ = model.join(*model.codes(model.patches(video, audio)))
    finally:
        for hook in hooks:
            hook.remove()
    own = [x[:, tokens.shape[1] :] for x in hidden]
    return (own[0], own[-1]), tokens
