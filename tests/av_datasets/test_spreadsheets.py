"""Published lists that a spreadsheet opened and saved again: parsed, or refused with the cause."""

import csv
import io
from pathlib import Path

import pytest

from avstore.datasets.registry import get

AUDIOSET = (
    "# Segments csv created Sun Mar  5 10:54:25 2017\n"
    "# num_ytids=20371, num_segs=20371, num_unique_labels=527, num_positive_labels=51804\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
    '--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr,/m/0jbk"\n'
    '-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw,/m/0k4j"\n'
    'zzbTaK7CXJY, 30.000, 40.000, "/m/07p6fty"\n'
)
VGGSOUND = (
    "--0PQM4-hqg,30,waterfall burbling,train\n"
    '-qoA5sb8Xus,7,"pigeon, dove cooing",test\n'
    "aaaaaaaaaaa,30,playing banjo,train\n"
)
LLP = (
    "filename\tevent_labels\n4O9rI-FpqLg_10_20\tCheering,Speech,Clapping\nBjCEufrlXm4_60_70\tDog\n"
)


def saved(text: str, read: str, written: str, **how: object) -> str:
    """Return a list as a spreadsheet saves it: cells split at `read`, rows of one width."""
    rows = list(csv.reader(io.StringIO(text), delimiter=read))
    width = max(map(len, rows))
    out = io.StringIO()
    writer = csv.writer(out, delimiter=written, lineterminator="\r\n", **how)
    writer.writerows([*row, *[""] * (width - len(row))] for row in rows)
    return "\ufeff" + out.getvalue()


def clips(dataset: str, path: Path) -> list[tuple]:
    found = get(dataset).parse([path])
    return [(c.key, c.start_s, c.end_s, c.split, c.labels) for c in found.clips]


@pytest.mark.parametrize("written", [",", ";", "\t"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize(
    ("dataset", "name", "text", "read"),
    [
        ("audioset", "eval_segments.csv", AUDIOSET, ","),
        ("vggsound", "vggsound.csv", VGGSOUND, ","),
        ("llp", "AVVP_train.csv", LLP, "\t"),
    ],
)
def test_saved_lists_have_the_same_clips(
    tmp_path: Path, dataset: str, name: str, text: str, read: str, written: str, quoting: int
) -> None:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / name).write_text(text)
    (tmp_path / name).write_text(saved(text, read, written, quoting=quoting), newline="")
    published = clips(dataset, tmp_path / "published" / name)
    assert len(published) in {2, 3}
    assert clips(dataset, tmp_path / name) == published


@pytest.mark.parametrize("written", [",", ";", "\t"])
def test_vggsounder_saved_again(shared_data: Path, tmp_path: Path, written: str) -> None:
    folder = shared_data / "annotations/vggsound"
    text = saved((folder / "vggsounder.csv").read_text(), ",", written, quoting=csv.QUOTE_ALL)
    (tmp_path / "vggsounder.csv").write_text(text, newline="")
    ours = get("vggsound").parse([folder / "test.csv", tmp_path / "vggsounder.csv"])
    theirs = get("vggsound").parse([folder / "test.csv", folder / "vggsounder.csv"])
    assert ours.clip_labels == theirs.clip_labels
    assert len(ours.clip_labels) == 29_509


def test_the_issues_row(tmp_path: Path) -> None:
    path = tmp_path / "eval_segments.csv"
    path.write_text('zzbTaK7CXJY,30,40," ""/m/0c3f7m"""\n')
    ((clip,), bad) = (found := get("audioset").parse([path])).clips, found.bad_rows
    assert (clip.labels, list(bad)) == (("Fire alarm",), [])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("#NAME?,30,playing banjo,train", "took the text for a formula"),
        ("=-0RWZT-miFs,30,playing banjo,train", "took the text for a formula"),
        ("1.23457E+10,30,playing banjo,train", "took the text for a number"),
        ("01/02/2003,30,playing banjo,train", "took the text for a date"),
        ('aaaaaaaaaaa;"30,000";playing banjo;train', "wrote a comma in it"),
        ("aaaaaaaaaaa;30,000;playing banjo;train", "wrote a comma in it"),
    ],
)
def test_changed_cells_are_named_with_the_cause(tmp_path: Path, row: str, reason: str) -> None:
    path = tmp_path / "vggsound.csv"
    path.write_text(f"{VGGSOUND}{row}\n")
    found = get("vggsound").parse([path])
    assert len(found.clips) == 3
    (bad,) = found.bad_rows
    assert bad.row == 4
    assert reason in bad.reason


def test_an_error_of_a_spreadsheet_is_no_comment(tmp_path: Path) -> None:
    path = tmp_path / "eval_segments.csv"
    path.write_text(f'{AUDIOSET}#NAME?,30,40,"/m/0c3f7m"\n')
    reasons = [bad.reason for bad in get("audioset").parse([path]).bad_rows]
    assert "took the text for a formula" in reasons[0]


@pytest.mark.parametrize("written", [",", ";", "\t"])
def test_the_real_list_saved_again(shared_data: Path, tmp_path: Path, written: str) -> None:
    published = shared_data / "annotations/audioset/eval_segments.csv"
    text = saved(published.read_text(), ",", written)
    (tmp_path / "eval_segments.csv").write_text(text, newline="")
    ours = get("audioset").parse([tmp_path / "eval_segments.csv"])
    theirs = get("audioset").parse([published])
    assert ours.table.equals(theirs.table)
    assert len(ours.clips) == 20_371
    assert not ours.bad_rows
