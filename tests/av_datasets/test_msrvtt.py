"""MSR-VTT's times, one of which may be missing."""

import json
from pathlib import Path

import pytest

from avstore.datasets.registry import get
from tests.av_datasets.fixtures.msrvtt import FIXTURE


@pytest.mark.parametrize("missing", ["start time", "end time"])
def test_a_video_with_one_of_its_times_is_a_bad_row(tmp_path: Path, missing: str) -> None:
    (path, *_) = FIXTURE.write(tmp_path)
    content = json.loads(path.read_text())
    del content["videos"][0][missing]
    path.write_text(json.dumps(content))
    reasons = [bad.reason for bad in get("msrvtt").parse([path]).bad_rows]
    assert sum("are not 0 <= start < end" in reason for reason in reasons) == 1
