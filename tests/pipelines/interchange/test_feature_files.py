"""Features in the folders of published code: one .npy a clip, under the names that it opens."""

from pathlib import Path

import numpy as np
import pytest

from avstore.manifests.library import open_store
from avstore.manifests.store import StoreError
from avstore.pipelines.interchange.export_clips import ExportClip, export_clips
from avstore.pipelines.interchange.feature_files import FEATURE_FOLDERS, write_features
from avstore.pipelines.interchange.lists import feature_file
from tests.train.data.store_factory import make_store


def clip(dataset: str, key: str, **extra: str) -> ExportClip:
    return ExportClip(dataset, key, key[:11], 30.0, 40.0, "train", extra=extra)


def test_stored_features_are_written_once(tmp_path: Path) -> None:
    store = make_store(tmp_path / "data")
    with open_store(str(store)) as opened:
        clips = export_clips(opened, "SELECT DISTINCT clip_id FROM trainable ORDER BY 1 LIMIT 3")
        folders = {"toy-feature": "feats/toy", "vggish": "feats/vggish"}
        name = feature_file("uavm", "flac")
        assert write_features(opened, clips, tmp_path, folders, name) == {"toy-feature": 3}
        assert write_features(opened, clips, tmp_path, folders, name) == {"toy-feature": 0}
        stored = opened.read("toy-feature", [clip.clip_id for clip in clips])
        for each in clips:
            written = np.load(tmp_path / "feats/toy" / f"{each.key}.npy", allow_pickle=False)
            assert np.array_equal(written, stored[each.clip_id])
            assert written.dtype == stored[each.clip_id].dtype
        with pytest.raises(StoreError, match="none of the features convnext-audio"):
            write_features(opened, clips, tmp_path, FEATURE_FOLDERS["uavm"], name)


def test_file_names_are_those_that_the_code_opens() -> None:
    uavm, llp = feature_file("uavm", "flac"), feature_file("llp", "wav")
    assert uavm(clip("vggsound", "a__00000001_000005")) == "a__00000001_000005"
    assert uavm(clip("audioset", "a__00000001_000005")) == "a__00000001"
    assert llp(clip("llp", "4O9rI-FpqLg_10_20")) == "4O9rI-FpqLg"
    short = clip("llp", "P7x4FV4lg_570_580")
    assert llp(short) == "P7x4FV4lg_5", "the first 11 characters, as released"
