"""The head that marks what sounds: AVSBench's decoder on the joint blocks (spec 5.3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.model_config import ModelConfig

DILATIONS = (3, 6, 12, 18)


class Dilated(nn.Module):
    """The sum of convolutions of several reaches, [N, C, H, W] -> [N, out, H, W]."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, out, 3, padding=d, dilation=d) for d in DILATIONS
        )
        for branch in self.branches:
            nn.init.normal_(branch.weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([branch(x) for branch in self.branches]).sum(0)


class PixelAudioFusion(nn.Module):
    """TPAVI (Zhou et al. 2022): every pixel of every frame attends to the clip with its sound.

    Dot-product attention over time and place without a softmax, so that it can be summed over
    places first: linear in the number of pixels, and equal to the quadratic form.
    """

    def __init__(self, channels: int, audio: int) -> None:
        super().__init__()
        inner = channels // 2
        self.align = nn.Linear(audio, channels)
        self.theta, self.phi, self.g = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.out = nn.Conv2d(inner, channels, 1)
        self.norm = nn.LayerNorm(channels)
        nn.init.zeros_(self.out.weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, audio: Tensor) -> Tensor:
        """x [B, T, C, H, W], audio [B, T, A] -> [B, T, C, H, W]."""
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


class Refine(nn.Module):
    """A residual unit, the coarser map added where there is one, another unit, and twice the size
    (the fusion block of RefineNet, as AVSBench uses it)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(
                *(nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)),
                *(nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)),
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor, coarser: Tensor | None = None) -> Tensor:
        if coarser is not None:
            x = coarser + x + self.first(x)
        x = x + self.second(x)
        return twice(x)


class SegmentationHead(nn.Module):
    """Hidden activations of the last two joint blocks and the clip's sound to a mask a frame."""

    def __init__(self, config: ModelConfig, channels: int = 256, audio: int = 128) -> None:
        super().__init__()
        self.grid, self.frames = config.video_grid, config.frames
        self.image_size = config.image_size
        hidden = int(config.width * config.mlp_ratio)
        self.reduce = nn.ModuleList(nn.Linear(hidden, 2 * channels) for _ in range(2))
        self.dilated = nn.ModuleList(Dilated(2 * channels, channels) for _ in range(2))
        self.audio = nn.Linear(config.width, audio)
        self.fuse = nn.ModuleList(PixelAudioFusion(channels, audio) for _ in range(2))
        self.refine = nn.ModuleList(Refine(channels) for _ in range(2))
        self.narrow = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.last = nn.Sequential(
            nn.Conv2d(channels // 2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1)
        )

    def forward(self, hidden: tuple[Tensor, Tensor], audio: Tensor) -> Tensor:
        """hidden: of the last block but one and of the last, [B, Lv, H] each; audio tokens
        [B, La, D]. Logits [B, T, 1, S, S]."""
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
        logits = self.last(twice(self.narrow(merged)))
        if logits.shape[-1] != self.image_size:
            size = (self.image_size, self.image_size)
            logits = F.interpolate(logits, size=size, mode="bilinear")
        out: Tensor = logits.reshape(len(audio), self.frames, *logits.shape[1:])
        return out


def twice(x: Tensor) -> Tensor:
    """[N, C, H, W] at twice the size, bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def joint_hidden(
    model: CAVMAE, video: Tensor, audio: Tensor
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """What enters the second layer of the last two joint blocks' MLPs, of the video tokens, and
    the joint audio tokens. With a single joint block that one counts twice."""
    found: list[Tensor] = []
    blocks = [model.joint[max(0, len(model.joint) - 2)], model.joint[len(model.joint) - 1]]
    hooks = [
        block.mlp.fc2.register_forward_pre_hook(lambda _m, args: found.append(args[0]))  # type: ignore[union-attr]
        for block in dict.fromkeys(blocks)
    ]
    try:
        tokens, _ = model.features(video, audio)
    finally:
        for hook in hooks:
            hook.remove()
    own = [x[:, tokens.shape[1] :] for x in found]
    return (own[0], own[-1]), tokens
