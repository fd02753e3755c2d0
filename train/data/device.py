"""Frames decoded and cropped on the device: nvJPEG on a GPU, through torchvision."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.data.transforms.pictures import Box


@dataclass(frozen=True)
class Jpegs:
    """JPEGs of a batch as read, and what is to become of them.

    content: uint8, the files one after another; sizes: int64 [B * T]; boxes: int64 [B * T, 4],
    (left, top, right, bottom); frames: T; image_size: S.
    """

    content: Tensor
    sizes: Tensor
    boxes: Tensor
    frames: int
    image_size: int

    @staticmethod
    def of(files: list[memoryview], boxes: list[Box], frames: int, image_size: int) -> "Jpegs":
        return Jpegs(
            torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8),
            torch.tensor([len(file) for file in files]),
            torch.tensor(boxes),
            frames,
            image_size,
        )

    def decode(self, device: torch.device | str) -> Tensor:
        """uint8 [B, T, 3, S, S] on the device; bilinear as in the workers, without their rounding.

        Raises DamagedFrameError where one cannot be decoded.
        """
        device = torch.device(device)
        files = list(torch.split(self.content, self.sizes.tolist()))
        try:
            images = _decoded(files, device)
        except RuntimeError:
            images = [self._one(place, file, device) for place, file in enumerate(files)]
        size = self.image_size
        out = torch.empty(len(images), 3, size, size, dtype=torch.uint8, device=device)
        for place, (image, box) in enumerate(zip(images, self.boxes.tolist(), strict=True)):
            left, top, right, bottom = box
            out[place] = _resize(image[:, top:bottom, left:right].to(device), size)
        return out.view(-1, self.frames, 3, size, size)

    def _one(self, place: int, file: Tensor, device: torch.device) -> Tensor:
        try:
            return _decoded([file], device)[0]
        except RuntimeError as error:
            raise DamagedFrameError(place // self.frames, place % self.frames, error) from error


class DamagedFrameError(Exception):
    """A frame that the device cannot decode. row: of the batch; frame: of the row's."""

    def __init__(self, row: int, frame: int, reason: Exception) -> None:
        super().__init__(str(reason).splitlines()[0])
        self.row, self.frame = row, frame


def _decoded(files: list[Tensor], device: torch.device) -> list[Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg  # noqa: PLC0415 -- slow to load

    where = "cuda" if device.type == "cuda" else "cpu"
    images: list[Tensor] = decode_jpeg(files, mode=ImageReadMode.RGB, device=where)
    return images


def _resize(image: Tensor, size: int) -> Tensor:
    """uint8 [3, h, w] to [3, size, size]."""
    if image.shape[1:] == (size, size):
        return image
    resized = F.interpolate(
        image[None].float(), (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0].round_().clamp_(0, 255).to(torch.uint8)
