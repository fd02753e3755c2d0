"""Real clips from a folder, compared with FFmpeg's frames and torchaudio's fbank."""

import csv
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import av
import duckdb
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPO
from tests.pipelines.cli.test_build import avstore


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(folder of real VGGSound clips under their usual names, the store built from them)."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "videos").mkdir()
    rows = list(csv.DictReader((shared_data / "media" / "vggsound_clips.csv").open()))
    with (folder / "vggsound.csv").open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        for row in rows:
            name = f"{row['youtube_id']}_{int(row['start_seconds']):06d}.mp4"
            shutil.copy(shared_data / "media" / row["file"], folder / "videos" / name)
            out.writerow([row[k] for k in ("youtube_id", "start_seconds", "label", "split")])
    avstore(
        *("build", "vggsound", "--source", folder / "videos"),
        *("--annotations", folder / "vggsound.csv", "--store", folder / "data"),
    )
    return folder / "videos", folder / "data"


def members(store: Path, key: str) -> dict[str, bytes]:
    with duckdb.connect(str(store / "manifest.duckdb"), read_only=True) as con:
        ((shard,),) = con.execute(
            "SELECT shard FROM samples WHERE clip_id = ?", [f"vggsound/{key}"]
        ).fetchall()
    with tarfile.open(store / shard) as tar:
        found = [m for m in tar if m.name.startswith(f"{key}.")]
        return {m.name.split(".", 1)[1]: tar.extractfile(m).read() for m in found}


def keys(store: Path) -> list[str]:
    with duckdb.connect(str(store / "manifest.duckdb"), read_only=True) as con:
        return [row[0] for row in con.execute("SELECT key FROM trainable ORDER BY key").fetchall()]


def ffmpeg(*words: str | Path) -> bytes:
    program = imageio_ffmpeg.get_ffmpeg_exe()
    done = subprocess.run(
        [program, "-v", "error", *map(str, words)], cwd=REPO, check=True, capture_output=True
    )
    return done.stdout


def first_sound(clip: Path) -> float:
    """The instant of the first sample, seconds: FFmpeg's program drops what comes before it."""
    with av.open(str(clip)) as container:
        return float(next(container.decode(audio=0)).time)


def test_every_real_clip_is_stored_and_the_account_closes(real: tuple[Path, Path]) -> None:
    videos, store = real
    assert keys(store) == sorted(path.stem for path in videos.iterdir())
    avstore("verify", "--store", store)


def test_frames_are_ffmpegs_frames_at_those_times(real: tuple[Path, Path]) -> None:
    """Frame i is the picture shown at i/8 s, short side 256, centre crop, JPEG."""
    videos, store = real
    fit = "scale='if(gt(iw,ih),-2,256)':'if(gt(iw,ih),256,-2)':flags=bilinear,crop=256:256"
    for key in keys(store)[:4]:
        stored = members(store, key)
        for index in (0, 33, 79):
            at = index / 8
            until = f"trim=end={at + 0.001},reverse," if index else ""
            raw = ffmpeg(
                *("-i", videos / f"{key}.mp4", "-vf", f"{until}{fit}", "-frames:v", "1"),
                *("-f", "rawvideo", "-pix_fmt", "rgb24", "-"),
            )
            expected = np.frombuffer(raw, np.uint8).reshape(256, 256, 3).astype(float)
            ours = np.asarray(Image.open(io.BytesIO(stored[f"f{index:03d}.jpg"])), float)
            psnr = 10 * np.log10(255**2 / np.mean((ours - expected) ** 2))
            assert psnr > 26, (key, index, psnr)


def test_fbank_is_torchaudios_on_ffmpegs_own_audio(real: tuple[Path, Path]) -> None:
    import torch
    from torchaudio.compliance import kaldi

    videos, store = real
    for key in keys(store):
        clip = videos / f"{key}.mp4"
        raw = ffmpeg("-i", clip, "-ar", "16000", "-ac", "1", "-f", "s16le", "-")
        heard = np.frombuffer(raw, np.int16).astype(np.float32) / 32768
        late = np.zeros(round(first_sound(clip) * 16000), np.float32)
        wave = torch.from_numpy(np.concatenate([late, heard])[:160000])
        expected = kaldi.fbank(
            (wave - wave.mean())[None],
            htk_compat=True,
            sample_frequency=16000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=128,
            dither=0.0,
            frame_shift=10,
        ).numpy()
        ours = np.load(io.BytesIO(members(store, key)["fbank.npy"])).astype(np.float32)
        assert abs(len(ours) - len(expected)) <= 2
        common = min(len(ours), len(expected))
        difference = np.abs(ours[:common] - expected[:common])
        assert np.median(difference) < 0.01, key
        assert difference.mean() < 0.05, key
