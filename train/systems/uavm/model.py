"""UAVM, its modality-independent and its cross-attention baseline, on rows of features."""

import torch
from torch import Tensor, nn

from avstore.train.systems.uavm.layers import Maps, Stage, Trace, norm_linear, side_by_side
from avstore.train.systems.uavm.model_config import MODALITIES, Modality, UAVMConfig

BOTH = "both"


class UAVM(nn.Module):
    """A model that classifies clips by audio features, video features or both.

    Args:
        config: Its shape.

    Attributes:
        own: Each modality's own stage, or a norm and a projection without own blocks.
        upper: The upper stage by modality, or by "both"; empty without shared blocks.
        heads: Each modality's classifier without shared blocks; else empty.

    Example:
        >>> model = UAVM(UAVMConfig(width=64, heads=4, input_width=64, classes=10))
        >>> audio, video = torch.randn(2, 30, 64), torch.randn(2, 30, 64)
        >>> model(audio=audio).shape, model(audio, video).shape
        (torch.Size([2, 10]), torch.Size([2, 10]))
        >>> [tuple(layer.shape) for layer in model.trace(audio).embeddings][-2:]
        [(2, 64), (2, 10)]
    """

    def __init__(self, config: UAVMConfig) -> None:
        super().__init__()
        c = self.config = config
        self.own = nn.ModuleDict()
        self.upper = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        for modality in MODALITIES:
            self.own[modality] = (
                Stage((c.input_width, c.width), c.heads, c.own_depth, c.rows, c.classes, False)
                if c.own_depth
                else norm_linear(c.input_width, c.width)
            )
            if not c.shared_depth:
                self.heads[modality] = norm_linear(c.width, c.classes)
        if c.shared_depth:
            rows = c.rows * (2 if c.kind == "cross_attention" else 1)
            for name in MODALITIES if c.kind == "independent" else (BOTH,):
                widths = (c.width, c.upper_width)
                self.upper[name] = Stage(widths, c.heads, c.shared_depth, rows, c.classes, True)

    def forward(self, audio: Tensor | None = None, video: Tensor | None = None) -> Tensor:
        """Return logits [B, classes].

        With both modalities, "unified" and "independent" give the mean of the two logits, as
        published.

        Args:
            audio: Features [B, rows, input_width].
            video: Features [B, rows, input_width].

        Raises:
            ValueError: Neither is given, or one of them to "cross_attention".
        """
        if self.config.kind == "cross_attention":
            return _logits(self.trace(audio, video))
        found = [_logits(self.trace(audio=audio))] if audio is not None else []
        found += [_logits(self.trace(video=video))] if video is not None else []
        if not found:
            raise ValueError("neither audio nor video features are given")
        return torch.stack(found).mean(0)

    def trace(
        self, audio: Tensor | None = None, video: Tensor | None = None, maps: Maps | None = None
    ) -> Trace:
        """Return tokens of every layer, attention maps and logits.

        The layers are numbered as in the paper: 0 is the input of the first block, k the output of
        block k. Layers of "cross_attention" have the rows of audio, then those of video.

        Args:
            audio: Features [B, rows, input_width].
            video: Features [B, rows, input_width].
            maps: Attention maps to keep; None for none.

        Raises:
            ValueError: Not exactly one modality is given, or not both to "cross_attention".
        """
        given = [m for m, x in zip(MODALITIES, (audio, video), strict=True) if x is not None]
        if self.config.kind == "cross_attention":
            if audio is None or video is None:
                raise ValueError("cross_attention takes audio and video features together")
            own = side_by_side([self._own("audio", audio, maps), self._own("video", video, maps)])
            return self._upper(BOTH, own, maps)
        features = video if audio is None else audio
        if features is None or len(given) > 1:
            raise ValueError(
                f"{self.config.kind} traces one modality at a time; given: "
                f"{' and '.join(given) or 'neither'}"
            )
        return self._upper(given[0], self._own(given[0], features, maps), maps)

    def _own(self, modality: Modality, x: Tensor, maps: Maps | None) -> Trace:
        stage = self.own[modality]
        if isinstance(stage, Stage):
            trace: Trace = stage(x, maps)
            return trace
        return Trace((stage(x),), ())

    def _upper(self, name: str, own: Trace, maps: Maps | None) -> Trace:
        x = own.layers[-1]
        if not self.upper:
            return Trace(own.layers, own.maps, self.heads[name](x.mean(1)))
        above: Trace = self.upper[name if name in self.upper else BOTH](x, maps)
        # The upper stage's own input is a layer of the paper only where no block comes before it.
        layers = own.layers + above.layers[1:] if self.config.own_depth else above.layers
        return Trace(layers, own.maps + above.maps, above.logits)


def _logits(trace: Trace) -> Tensor:
    if trace.logits is None:
        raise TypeError("the trace of a whole model has logits")
    return trace.logits
