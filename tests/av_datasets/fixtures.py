"""Small annotation files of every dataset, in its published form, with what they must give."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np


@dataclass(frozen=True)
class Fixture:
    """files: name to content. splits: clips a split. bad: row numbers that cannot be used."""

    files: dict[str, str]
    splits: dict[str, int]
    bad: list[int]
    segments: int = 0
    more: Callable[[Path], None] | None = None

    def write(self, folder: Path) -> list[Path]:
        for name, text in self.files.items():
            (folder / name).write_text(text)
        if self.more:
            self.more(folder)
        return [folder / name for name in self.files] + sorted(folder.glob("*.h5"))


def _ave_orders(folder: Path) -> None:
    for split, rows in {"train": [0, 3], "val": [1], "test": [2]}.items():
        with h5py.File(folder / f"{split}_order.h5", "w") as file:
            file["order"] = np.array(rows, dtype=np.int64)


_MSRVTT = {
    "videos": [
        {
            "category": 9,
            "url": "https://www.youtube.com/watch?v=-9lZi22qLlE",
            "video_id": f"video{number}",
            "start time": 137.72,
            "end time": 149.44,
            "split": "train",
            "id": number,
        }
        for number in (0, 6513, 7010)
    ]
    + [{"video_id": "video12345", "category": 1}],
    "sentences": [
        {"caption": f"caption {k}", "video_id": "video0", "sen_id": k} for k in range(20)
    ],
}

FIXTURES: dict[str, Fixture] = {
    "vggsound": Fixture(
        {
            "vggsound.csv": '-a_b,30,"pigeon, dove cooing",train\nb,7,dog barkin,test\n',
            "test.csv": "zz_1_000030.mp4,playing banjo\n",
        },
        {"train": 1, "test": 1},
        [2],
    ),
    "audioset": Fixture(
        {
            "eval_segments.csv": "# Segments csv created\n"
            "# num_ytids=2, num_segs=2, num_unique_labels=527\n"
            "# YTID, start_seconds, end_seconds, positive_labels\n"
            '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_, /m/0bt9lr,/m/0jbk"\n'
            '--BfvyPmVMo, 20.000, 30.000, "/m/03l9x"\n',
            "balanced_train_segments.csv": "-PJHxphWEs,30,39,/m/09x0r\n",
        },
        {"eval": 1, "train": 1},
        [5],
    ),
    "msrvtt": Fixture(
        {
            "train_val_videodatainfo.json": json.dumps(_MSRVTT),
            "MSRVTT_JSFUSION_test.csv": "key,vid_key,video_id,sentence\n"
            'ret0,msr9770,video9770,"a person, connecting something"\nret1,x,movie1,a\n',
            "MSRVTT_train.9k.csv": "video_id\nvideo0\nvideo7010\n",
        },
        {"train": 1, "val": 1, "test": 2},
        [4, 3],
    ),
    "ave": Fixture(
        {
            "Annotations.txt": "Category&VideoID&Quality&StartTime&EndTime\n"
            "Church bell&-UhOCu3LNXM&good&0&10\n"
            "Male speech, man speaking&b&good&6&8\n"
            "Bark&c&good&2&3\n"
            "Church bell&c&good&3&4\n"
            "Church bel&d&good&3&4\n"
        },
        {"train": 1, "val": 1, "test": 1},
        [6],
        segments=4,
        more=_ave_orders,
    ),
    "avs": Fixture(
        {
            "s4_meta_data.csv": "name,start_time,category,split\n"
            "-a_b,30,helicopter,train\nb,1,helicopte,test\n",
            "ms3_meta_data.csv": "video_id,split\nc_0,val\n",
            "metadata.csv": "vid,uid,s_min,s_sec,a_obj,split,label\n"
            "0,-a_b,0,30,frying-food_man,test,v2\n1,x,0,30,man,test,v3\n",
        },
        {"train": 1, "val": 1, "test": 1},
        [3, 3],
    ),
    "llp": Fixture(
        {
            "AVVP_train.csv": "filename\tevent_labels\n-a_b_20_30\tSpeech,Dog\nx_1_2\tSpeach\n",
            "AVVP_val_pd.csv": "filename\tevent_labels\nb_101.8_111.8\tSpeech\n",
            "AVVP_eval_audio.csv": "filename\tonset\toffset\tevent_labels\n"
            "b_101.8_111.8\t0\t10\tSpeech\nb_101.8_111.8\t9\t0\tSpeech\norphan_1_2\t0\t1\tDog\n",
        },
        {"train": 1, "val": 1},
        [3, 3, 4],
        segments=1,
    ),
}


@dataclass(frozen=True)
class Published:
    """The real files of a dataset under shared/data/annotations, and their published counts."""

    files: tuple[str, ...]
    splits: dict[str, int]
    bad: int = 0
    segments: int = 0
    subsets: dict[str, int] = field(default_factory=dict)


PUBLISHED: dict[str, Published] = {
    "vggsound": Published(("vggsound/test.csv",), {"test": 15_446}),
    "audioset": Published(
        ("audioset/balanced_train_segments.csv", "audioset/eval_segments.csv"),
        {"train": 22_160, "eval": 20_371},
        subsets={"balanced": 22_160, "eval": 20_371},
    ),
    "msrvtt": Published(
        tuple(
            f"msrvtt/{name}"
            for name in (
                *("MSRVTT_JSFUSION_test.csv", "MSRVTT_train.7k.csv", "MSRVTT_train.9k.csv"),
                *("train_list_full.txt", "test_list_full.txt"),
            )
        ),
        {"train": 6_513, "val": 497, "test": 2_990},
        subsets={"1ka_test": 1_000, "train_9k": 9_000, "train_7k": 7_010},
    ),
    # 4,143 rows are 4,097 videos; 18 train videos are evaluated as well and count there.
    "ave": Published(
        tuple(
            f"ave/{name}"
            for name in ("Annotations.txt", "train_order.h5", "val_order.h5", "test_order.h5")
        ),
        {"train": 3_294, "val": 401, "test": 402},
        bad=1,
        segments=4_142,
        subsets={"train": 3_312, "val": 401, "test": 402},
    ),
    # Only the frame lists of the two test sets are at hand.
    "avs": Published(
        ("avs/avs1_s4_test.csv", "avs/avs1_ms3_test.csv"),
        {"test": 804},
        subsets={"s4": 740, "ms3": 64},
    ),
    # Dense rows: 4,131 + 2,495, less 25 orphans, 5 empty, 8 repeated; and one doubled label.
    "llp": Published(
        tuple(
            f"llp/AVVP_{name}.csv"
            for name in ("train", "val_pd", "test_pd", "eval_audio", "eval_visual")
        ),
        {"train": 10_000, "val": 649, "test": 1_200},
        bad=39,
        segments=4_131 + 2_495 - 25 - 5 - 8,
    ),
}
