"""Finish batches on the device: decode and crop frames (nvJPEG on a GPU), transform fbanks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.data.transforms.fbank import FbankChoices
from avstore.train.data.transforms.frames import Box


class DamagedFrameError(Exception):
    """A frame that the device cannot decode.

    Attributes:
        row: Row of the batch.
        frame: Number of the frame in the row.
    """

    def __init__(self, row: int, frame: int, reason: Exception) -> None:
        super().__init__(str(reason).splitlines()[0])
        self.row, self.frame = row, frame


@dataclass(frozen=True)
class DeviceFrames:
    """The undecoded frames of a batch: B rows of T frames.

    Attributes:
        content: uint8, the JPEGs, concatenated.
        sizes: int64 [B * T], their sizes in bytes.
        boxes: int64 [B * T, 4], their crops: left, top, right, bottom.
        frames: T.
        image_size: Side of the frames that come out, in pixels.
    """

    content: Tensor
    sizes: Tensor
    boxes: Tensor
    frames: int
    image_size: int

    @staticmethod
    def pack(
        files: Sequence[memoryview], boxes: Sequence[Box], frames: int, image_size: int
    ) -> "DeviceFrames":
        """Pack JPEGs and their crops, row by row."""
        return DeviceFrames(
            torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8),
            torch.tensor([len(file) for file in files]),
            torch.tensor(boxes),
            frames,
            image_size,
        )

    def decode(self, device: torch.device | str) -> Tensor:
        """Decode, crop and resize on a device; bilinear as in the workers, rounded differently.

        Returns:
            uint8 [B, T, 3, image_size, image_size].

        Raises:
            DamagedFrameError: If a frame cannot be decoded.
        """
        device = torch.device(device)
        files = list(torch.split(self.content, self.sizes.tolist()))
        try:
            images = _decode_jpegs(files, device)
        except RuntimeError:  # does not say which
            images = [self._decode_one(place, file, device) for place, file in enumerate(files)]
        size = self.image_size
        out = torch.empty(len(images), 3, size, size, dtype=torch.uint8, device=device)
        for place, (image, box) in enumerate(zip(images, self.boxes.tolist(), strict=True)):
            left, top, right, bottom = box
            out[place] = _resize(image[:, top:bottom, left:right].to(device), size)
        return out.view(-1, self.frames, 3, size, size)

    def _decode_one(self, place: int, file: Tensor, device: torch.device) -> Tensor:
        try:
            return _decode_jpegs([file], device)[0]
        except RuntimeError as error:
            raise DamagedFrameError(place // self.frames, place % self.frames, error) from error


def _decode_jpegs(files: list[Tensor], device: torch.device) -> list[Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg  # noqa: PLC0415 -- slow to import

    target = "cuda" if device.type == "cuda" else "cpu"
    images: list[Tensor] = decode_jpeg(files, mode=ImageReadMode.RGB, device=target)
    return images


def _resize(image: Tensor, size: int) -> Tensor:
    """Resize uint8 [3, height, width] to [3, size, size]."""
    if image.shape[1:] == (size, size):
        return image
    resized = F.interpolate(
        image[None].float(), (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0].round_().clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class DeviceFbank:
    """What the device does to the fbanks of a batch; B rows.

    Attributes:
        choices: int64 [B, 6]: start and stop of the masked mel bins, start and stop of the masked
            frames, roll, noise seed.
        strengths: float32 [B], strengths of the noise.
        mean: Mean of the unnormalised fbank.
        std: Standard deviation of the unnormalised fbank.
    """

    choices: Tensor
    strengths: Tensor
    mean: float
    std: float

    @staticmethod
    def pack(drawn: Sequence[FbankChoices], mean: float, std: float) -> "DeviceFbank":
        """Pack the choices of each row."""
        rows = [(*one.bins, *one.frames, one.roll, one.seed) for one in drawn]
        strengths = torch.tensor([one.strength for one in drawn], dtype=torch.float32)
        return DeviceFbank(torch.tensor(rows), strengths, mean, std)

    def apply(self, audio: Tensor) -> Tensor:
        """Mask, normalise, perturb and roll fbanks like the workers, with other noise values.

        The noise comes from the device's own generator, seeded row by row.

        Args:
            audio: Fbanks as stored, [B, 1, frames, mels].

        Returns:
            float32 [B, 1, frames, mels].
        """
        fbanks = audio[:, 0].float()
        low, high, start, stop, rolls, _ = self.choices.to(audio.device).T[:, :, None]
        bins = torch.arange(fbanks.shape[2], device=audio.device)
        times = torch.arange(fbanks.shape[1], device=audio.device)
        if (high > low).any() or (stop > start).any():
            fbanks *= ~((bins >= low) & (bins < high))[:, None]
            fbanks *= ~((times >= start) & (times < stop))[..., None]
        fbanks = fbanks.sub_(self.mean).div_(self.std)
        if self.strengths.any():
            fbanks += self._noise(fbanks) * self.strengths.to(audio.device)[:, None, None]
        if rolls.any():
            sources = (times - rolls) % fbanks.shape[1]
            fbanks = fbanks.gather(1, sources[..., None].expand_as(fbanks))
        return fbanks[:, None]

    def _noise(self, fbanks: Tensor) -> Tensor:
        """Return uniform noise in [0, 1), each row a function of its seed."""
        noise = torch.empty_like(fbanks)
        generator = torch.Generator(fbanks.device)
        for row, seed in zip(noise, self.choices[:, 5].tolist(), strict=True):
            row.uniform_(generator=generator.manual_seed(seed))
        return noise
