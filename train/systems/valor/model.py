"""The hybrid attention network of HAN and VALOR, on rows of features."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avstore.train.systems.valor.model_config import GROUP, MAP_TOKENS, SEGMENTS, ValorConfig


@dataclass(frozen=True)
class Parsed:
    """What the network says of clips; modalities are audio, then visual.

    Attributes:
        logits: Of each class in each second, [B, 10, 2, C].
        video: Probability of each class in the clip, [B, C].
        modalities: Probability of each class in each modality of the clip, [B, 2, C].
        times: Scores by which pooling weighs the seconds, before their softmax, [B, 10, 2, C].
        shares: Weights by which pooling adds the modalities, [B, 10, 2, C].
    """

    logits: Tensor
    video: Tensor
    modalities: Tensor
    times: Tensor
    shares: Tensor


class Layer(nn.Module):
    """Attention to the other modality and to itself, added; then a feed-forward network."""

    def __init__(self, config: ValorConfig) -> None:
        super().__init__()
        c = config
        self.self_attention = nn.MultiheadAttention(
            c.width, c.heads, dropout=c.dropout, batch_first=True
        )
        self.cross_attention = nn.MultiheadAttention(
            c.width, c.heads, dropout=c.dropout, batch_first=True
        )
        self.up = nn.Linear(c.width, c.feedforward)
        self.down = nn.Linear(c.feedforward, c.width)
        self.norm1 = nn.LayerNorm(c.width)
        self.norm2 = nn.LayerNorm(c.width)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Return the new tokens of a modality [B, T, D], given those of the other one."""
        crossed = self.cross_attention(own, other, other, need_weights=False)[0]
        itself = self.self_attention(own, own, own, need_weights=False)[0]
        x = self.norm1(own + self.dropout(crossed) + self.dropout(itself))
        hidden = self.dropout(F.relu(self.up(x)))
        out: Tensor = self.norm2(x + self.dropout(self.down(hidden)))
        return out


class ParsingNet(nn.Module):
    """Predicts the events of each second by modality, and of the clip by attentive pooling.

    Args:
        config: Its shape.

    Example:
        >>> net = ParsingNet(ValorConfig(width=64, classes=5))
        >>> out = net(torch.randn(2, 10, 128), torch.randn(2, 80, 2048), torch.randn(2, 10, 512))
        >>> out.logits.shape, out.video.shape, out.modalities.shape
        (torch.Size([2, 10, 2, 5]), torch.Size([2, 5]), torch.Size([2, 2, 5]))
    """

    def __init__(self, config: ValorConfig) -> None:
        super().__init__()
        c = self.config = config
        self.event = nn.Linear(c.width, c.classes)
        self.time_weight = nn.Linear(c.width, c.classes)
        self.modality_weight = nn.Linear(c.width, c.classes)
        self.audio = nn.Linear(c.audio_width, c.width)
        self.visual = nn.Linear(c.visual_width, c.width)
        self.motion = nn.Linear(c.motion_width, c.width)
        self.fusion = nn.Linear(2 * c.width, c.width)
        first = Layer(c)  # all layers start alike
        self.layers = nn.ModuleList([first, *(copy.deepcopy(first) for _ in range(c.layers - 1))])
        self.unused = _unused(c)

    def forward(self, audio: Tensor, visual: Tensor, motion: Tensor) -> Parsed:
        """Parse clips.

        Args:
            audio: Feature [B, 10, audio_width], or CLAP's map [B, 64, audio_width].
            visual: Feature [B, 10, visual_width], or [B, 80, visual_width] with 8 rows a second.
            motion: Spatio-temporal visual feature [B, 10, motion_width].
        """
        a = self.audio_tokens(audio)
        v = self.fusion(torch.cat([self.visual_tokens(visual), self.motion(motion)], dim=-1))
        x = torch.stack(self.attend(a, v), dim=2)
        logits = self.event(x)
        times, shares = self.time_weight(x), self.modality_weight(x).softmax(2)
        in_time = times.softmax(1) * logits.sigmoid()
        return Parsed(logits, (in_time * shares).sum((1, 2)), in_time.sum(1), times, shares)

    def attend(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens of both modalities [B, 10, D] after all layers."""
        a, v = audio, visual
        for layer in self.layers:
            if self.config.order == "sequential":
                a = layer(a, v)
                v = layer(v, a)
            else:
                a, v = layer(audio, visual), layer(visual, audio)
        return a, v

    def audio_tokens(self, audio: Tensor) -> Tensor:
        """Return a token a second [B, 10, D]; a map is enlarged in time before it is averaged."""
        if audio.shape[1] != MAP_TOKENS:
            out: Tensor = self.audio(audio)
            return out
        cells = audio.transpose(1, 2).reshape(len(audio), -1, 2, MAP_TOKENS // 2)
        large = F.interpolate(cells, size=(2, 1024), mode="bicubic")
        tokens = self.audio(large.permute(0, 2, 3, 1)).mean(1)
        return F.adaptive_avg_pool1d(tokens.transpose(1, 2), SEGMENTS).transpose(1, 2)

    def visual_tokens(self, visual: Tensor) -> Tensor:
        """Return a token a second [B, 10, D], the mean of its rows."""
        tokens: Tensor = self.visual(visual)
        if visual.shape[1] == SEGMENTS * GROUP:
            return tokens.reshape(len(tokens), SEGMENTS, GROUP, -1).mean(2)
        return tokens


def _unused(c: ValorConfig) -> nn.ModuleDict:
    """Return what the released classes build and do not use, by its names there."""

    def norms(*names: str) -> nn.ModuleDict:
        return nn.ModuleDict({name: nn.LayerNorm(c.width) for name in names})

    def encoder() -> nn.ModuleDict:
        layer = nn.TransformerEncoderLayer(c.width, c.heads, c.feedforward)
        return nn.ModuleDict({"layers": nn.ModuleList([layer])})

    if c.unused == "none":
        return nn.ModuleDict()
    if c.unused == "valor":
        return nn.ModuleDict({"hat_encoder": norms("final_norm_a", "final_norm_v")})
    both = nn.ModuleDict({**encoder(), **norms("norm1", "norm2")})
    return nn.ModuleDict(
        {
            "audio_encoder": encoder(),
            "visual_encoder": encoder(),
            "cmt_encoder": both,
            "hat_encoder": norms("norm1", "norm2"),
        }
    )
