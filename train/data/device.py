"""Frames decoded and cropped on the device: nvJPEG on a GPU, through torchvision."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from train.data.transforms.pictures import Box


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

        Raises RuntimeError, with what torchvision says, for a damaged file.
        """
        from torchvision.io import ImageReadMode, decode_jpeg  # noqa: PLC0415 -- slow to load

        device = torch.device(device)
        files = list(torch.split(self.content, self.sizes.tolist()))
        where = "cuda" if device.type == "cuda" else "cpu"
        images = decode_jpeg(files, mode=ImageReadMode.RGB, device=where)
        size = self.image_size
        out = torch.empty(len(images), 3, size, size, dtype=torch.uint8, device=device)
        for place, (image, box) in enumerate(zip(images, self.boxes.tolist(), strict=True)):
            left, top, right, bottom = box
            out[place] = _resize(image[:, top:bottom, left:right].to(device), size)
        return out.view(-1, self.frames, 3, size, size)


def _resize(image: Tensor, size: int) -> Tensor:
    """uint8 [3, h, w] to [3, size, size]."""
    if image.shape[1:] == (size, size):
        return image
    resized = F.interpolate(
        image[None].float(), (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0].round_().clamp_(0, 255).to(torch.uint8)
