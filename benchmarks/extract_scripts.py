"""Extract a clip as the published scripts do, for comparison.

One OpenCV seek per frame, PIL, one JPEG file each, and a separate FFmpeg process for the audio,
whose output is read back for the fbank. Run as `python -m benchmarks.extract_scripts CLIP FOLDER`,
one process per clip, as upstream does.
"""

import subprocess
import sys
from pathlib import Path

import cv2
import imageio_ffmpeg
import torch
import torchaudio
from PIL import Image
from torchvision import transforms
from torchvision.utils import save_image

FRAMES = 80


def frames(clip: str, folder: Path) -> None:
    """Write 80 frames, each after a seek, as 256 × 256 JPEG files."""
    prepare = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(256), transforms.ToTensor()]
    )
    video = cv2.VideoCapture(clip)
    total = min(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), int(video.get(cv2.CAP_PROP_FPS) * 10))
    for i in range(FRAMES):
        video.set(cv2.CAP_PROP_POS_FRAMES, int(i * total / FRAMES) - 1)
        found, picture = video.read()
        if not found:
            raise SystemExit(f"no frame {i} of {clip}")
        image = Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        save_image(prepare(image), folder / f"frame_{i}.jpg")


def audio(clip: str, folder: Path) -> torch.Tensor:
    """Decode 16 kHz mono by a separate FFmpeg and return its fbank, (frames, 128)."""
    raw = folder / "audio.raw"
    tool = imageio_ffmpeg.get_ffmpeg_exe()
    command = [tool, "-y", "-v", "error", "-i", clip, "-vn", "-ar", "16000", "-ac", "1",
               "-f", "s16le", str(raw)]  # fmt: skip
    subprocess.run(command, check=True)
    samples = torch.frombuffer(bytearray(raw.read_bytes()), dtype=torch.int16)
    wave = (samples.float() / 32768)[None]
    return torchaudio.compliance.kaldi.fbank(
        wave - wave.mean(), htk_compat=True, sample_frequency=16000, use_energy=False,
        window_type="hanning", num_mel_bins=128, dither=0.0, frame_shift=10,
    )  # fmt: skip


def main() -> None:
    """Extract one clip."""
    clip, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    frames(clip, folder)
    torch.save(audio(clip, folder), folder / "fbank.pt")


if __name__ == "__main__":
    main()
