"""What predicts each view's sound from a clip's pictures, or its pictures from the sound.

No layer knows where a view is: views are a set.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from avstore.train.systems.avsa.model_config import AVSAConfig


class Attention(nn.Module):
    """Attention of one head over a clip's views."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, V, D] of views [B, V, D]."""
        seen = F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x))
        out: Tensor = self.out(seen)
        return out


class Layer(nn.Module):
    """Attention, or a feed-forward network in its place; then a feed-forward network.

    Norms come after the sums, and a ReLU at the end; without attention, one after each sum.
    """

    def __init__(self, config: AVSAConfig) -> None:
        super().__init__()
        width = config.width
        self.sees_all = config.predictors == "context"
        self.first = Attention(width) if self.sees_all else _feed_forward(config)
        self.first_norm = nn.LayerNorm(width)
        self.second = _feed_forward(config)
        self.second_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, V, D] of views [B, V, D]."""
        x = self.first_norm(x + self.dropout(self.first(x)))
        if not self.sees_all:
            x = F.relu(x)
        return F.relu(self.second_norm(x + self.dropout(self.second(x))))


class Predictor(nn.Module):
    """Layers over the views of each clip."""

    def __init__(self, config: AVSAConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Layer(config) for _ in range(config.depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions [B, V, D] from views [B, V, D]."""
        out: Tensor = self.layers(x)
        return out


def _feed_forward(config: AVSAConfig) -> nn.Sequential:
    hidden = config.expansion * config.width
    return nn.Sequential(
        nn.Linear(config.width, hidden), nn.ReLU(), nn.Linear(hidden, config.width)
    )
