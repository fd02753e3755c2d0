"""From LLP's one real clip at hand to a VALOR model that has learnt it, with random teachers."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.pipelines.cli.test_build import avstore

CLIP = "BjCEufrlXm4_20_30"
# The same file under other names: a clip to select by, one to test.
OTHERS = {"val": "AAAAAAAAAAA_0_10", "test": "BBBBBBBBBBB_0_10"}
LISTS = {
    "AVVP_train": [CLIP],
    "AVVP_val_pd": [OTHERS["val"]],
    "AVVP_test_pd": [OTHERS["test"]],
}
LABELS = ("Speech", "Dog")
# Random teachers then call each second of a clip positive for all of the clip's own labels.
TEACHERS = [(label, -1000, -1000) for label in LABELS]


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, lists and the teachers' thresholds."""
    folder = tmp_path_factory.mktemp("llp")
    (folder / "videos").mkdir()
    for name in (CLIP, *OTHERS.values()):
        video = folder / "videos" / f"{name}.mp4"
        shutil.copy(shared_data / "media" / "AVVP-ECCV20__BjCEufrlXm4.mp4", video)
    for name, clips in LISTS.items():
        write(folder / f"{name}.csv", [(clip, ",".join(LABELS)) for clip in clips])
    seconds = [(clip, 0, 10, label) for clip in OTHERS.values() for label in LABELS]
    for modality in ("audio", "visual"):
        write(folder / f"AVVP_eval_{modality}.csv", seconds, "onset", "offset")
    with (folder / "teachers.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("label", "clip_threshold", "clap_threshold"), *TEACHERS])
    return folder


def write(path: Path, rows: list[tuple], *between: str) -> None:
    with path.open("w", newline="") as file:
        out = csv.writer(file, delimiter="\t")
        out.writerows([("filename", *between, "event_labels"), *rows])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_real_clip_is_learnt_from_random_teachers(folder: Path) -> None:
    store = folder / "data"
    lists = ",".join(str(path) for path in sorted(folder.glob("AVVP_*.csv")))
    for recipe in ("llp", "valor"):
        avstore(
            *("build", "llp", "--source", folder / "videos", "--annotations", lists),
            *("--recipe", recipe, "--store", store),
        )
    names = ("valor-clip-labels", "valor-clap-labels")
    tiny = [word for name in names for word in ("--set", f"{name}.model=tiny")]
    made = avstore(
        *("features", "build", "--for", "valor", "--random-weights", "0", "--store", store),
        *(*tiny, "--set", f"classes={folder / 'teachers.csv'}"),
        timeout_s=900,
    )
    assert "all 5 features of valor: 3 of 3 published clips of llp" in made.stdout
    assert "leaked" not in made.stderr
    report = avstore("features", "labels", "--store", store, "--json")
    rows = {row["label"]: row for row in map(json.loads, report.stdout.splitlines())}
    for label in LABELS:
        assert (rows[label]["clips"], rows[label]["audio"], rows[label]["visual"]) == (3, 1, 1)
    out = folder / "run"
    sets = ("epochs=40", "data.workers=0", "model.width=64", "optim.lr=1e-3")
    avstore(
        *("train", "--shards", store, "--config", "valor", "--out", out, "--device", "cpu"),
        *(word for text in sets for word in ("--set", text)),
    )
    avstore("figures", "valor", out, "--output", folder / "figures")
    assert (folder / "figures" / f"timeline-{OTHERS['test']}.png").is_file()
    (scores,) = csv.DictReader((folder / "figures" / "clips.csv").open())
    for kind in ("segment", "event"):
        for modality in ("audio", "visual", "audio_visual"):
            assert float(scores[f"{kind}_{modality}"]) == 100
