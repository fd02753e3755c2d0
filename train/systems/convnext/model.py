"""ConvNeXt on filter banks, with torchvision's names."""

import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from avstore.train.systems.convnext.model_config import ConvNextConfig


class ConvNextAudio(nn.Module):
    """Classifies filter banks.

    Weights have torchvision's names, so that a trained model is a file for the extractor
    `convnext-audio`.

    Args:
        config: The model's shape.

    Example:
        >>> small = ConvNextConfig(widths=(8, 16), depths=(1, 1), classes=5)
        >>> ConvNextAudio(small)(torch.randn(2, 1, 64, 128)).shape
        torch.Size([2, 5])
    """

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__()
        self.config = config
        after = (*config.widths[1:], None)
        blocks = [
            CNBlockConfig(width, following, depth)
            for width, following, depth in zip(config.widths, after, config.depths, strict=True)
        ]
        whole = ConvNeXt(blocks, config.drop_path, num_classes=config.classes)
        # One channel, with the sum of the weights of three, as UAVM takes ImageNet's.
        stem = whole.features[0][0]
        whole.features[0][0] = nn.Conv2d(1, config.widths[0], stem.kernel_size, stem.stride)
        with torch.no_grad():
            whole.features[0][0].weight.copy_(stem.weight.sum(1, keepdim=True))
            whole.features[0][0].bias.copy_(stem.bias)
        self.features, self.classifier = whole.features, whole.classifier

    def forward(self, fbank: Tensor) -> Tensor:
        """Return logits [B, classes] of filter banks [B, 1, frames, mels]."""
        out: Tensor = self.classifier(self.trunk(fbank).mean((2, 3), keepdim=True))
        return out

    def trunk(self, fbank: Tensor) -> Tensor:
        """Return the trunk's output [B, D, mels / 32, frames / 32]."""
        out: Tensor = self.features(fbank.transpose(2, 3))
        return out
