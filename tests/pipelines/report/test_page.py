"""The report of a dataset: one file with counts, reasons, pictures and sound; data is text."""

import base64
import hashlib
import io
import re
import shutil
from pathlib import Path

import av
import pytest
from PIL import Image

from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.report import page as report
from avstore.pipelines.report.page import MOST_BYTES, write_report
from tests.manifests.conftest import store  # noqa: F401 -- a fixture
from tests.train.data import store_factory as toy

STAGE = f"toy-{toy.FINGERPRINT[:8]}"


@pytest.fixture
def toy_store(tmp_path: Path) -> Store:
    """A store of 23 stored clips with real members."""
    return Store(toy.make_store(tmp_path / "toy"))


def change(store: Store, *statements: str) -> None:  # noqa: F811
    with writing(store), open_write(store) as writer:
        for statement in statements:
            writer.con.execute(statement)
        writer.publish()


def media(text: str, kind: str) -> list[bytes]:
    return [base64.b64decode(part) for part in re.findall(rf"data:{kind};base64,([^\"]+)", text)]


def test_the_page_has_the_summary_and_the_failures_with_their_number(store: Store) -> None:  # noqa: F811
    with open_read(store) as con:
        ((stage,),) = con.execute("SELECT DISTINCT stage FROM stages").fetchall()
        ((failed,),) = con.execute("SELECT count(*) FROM failures").fetchall()
    path = write_report(store, "toy", stage)
    text = path.read_text()
    assert path == store.reports / "toy.html"
    headings = re.findall(r"<h2>([^<]+)</h2>", text)
    assert headings == [
        "Summary", "Coverage per class", "Samples", "Failures by reason", "Unusable clips"
    ]  # fmt: skip
    assert f"<p>{failed} of {failed}</p>" in text
    plain = " ".join(re.sub(r"<[^>]+>", "", text).split())
    assert "20 published = 16 stored + 1 rejected + 3 gone" in plain
    assert "<td>private</td><td>gone</td><td>fetch</td>" in text


def test_a_part_of_the_failures_says_of_how_many(
    store: Store,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "_FAILED", report._FAILED.replace("LIMIT 200", "LIMIT 2"))
    assert "<p>2 of 4</p>" in write_report(store, "toy", "toy-12345678").read_text()


def test_samples_have_pictures_a_spectrogram_and_sound(toy_store: Store) -> None:
    text = write_report(toy_store, "toy", STAGE).read_text()
    pictures = [Image.open(io.BytesIO(content)) for content in media(text, "image/jpeg")]
    assert len(pictures) == 2 * toy.Shape().clips
    assert pictures[0].size == (8 * 96, 96)
    assert pictures[1].size[1] == toy.Shape().mels
    sounds = media(text, "audio/mpeg")
    assert len(sounds) == toy.Shape().clips
    with av.open(io.BytesIO(sounds[0])) as sound:
        decoded = sum(frame.samples for frame in sound.decode(audio=0))
    assert 0.45 < decoded / 16000 < 0.7


def test_ambisonic_sound_is_heard_too(tmp_path: Path) -> None:
    shape = toy.Shape(clips=2, channels=4)
    own = Store(toy.make_store(tmp_path / "toy", shape, feature=None))
    assert len(media(write_report(own, "toy", STAGE).read_text(), "audio/mpeg")) == 2


def test_damaged_samples_are_left_out_and_counted(toy_store: Store) -> None:
    first, *others = sorted(toy_store.root.glob("shards/toy/*/*-000000.tar"))
    assert not others
    shutil.copy(toy_store.manifest, first)
    text = write_report(toy_store, "toy", STAGE).read_text()
    assert len(media(text, "audio/mpeg")) == 18
    assert "; 5 more were damaged" in text


def test_the_page_is_self_contained_and_allows_only_its_own_script(toy_store: Store) -> None:
    text = write_report(toy_store, "toy", STAGE).read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    (script,) = re.findall(r'<script type="module">(.*?)</script>', text, re.S)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    for part in (script, style):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"sha256-{digest}" in text.replace("&#43;", "+").replace("&#39;", "'")
    assert "unsafe" not in re.findall(r'Policy" content="([^"]+)"', text)[0]
    assert " style=" not in text


def test_it_is_small_however_long_the_texts_are(toy_store: Store) -> None:
    long = "'" + "<" * 100_000 + "'"
    change(
        toy_store,
        f"UPDATE clips SET labels = [{long} || position], captions = [{long}]",
        f"UPDATE datasets SET licence = {long}, version = {long}, annotation_source = {long}",
        "UPDATE status SET status = 'gone', verdict = 'private' WHERE position < 20",
        "INSERT INTO attempts (clip_id, stage, outcome, error_message, seq) "
        f"SELECT clip_id, 'fetch', 'gone', {long}, 1 FROM clips",
        "INSERT INTO clips SELECT * EXCLUDE (n) "
        "REPLACE ('toy/x' || n AS clip_id, ['<' || n] AS labels) "
        "FROM clips, range(3000) AS r(n) WHERE position = 0",
        "INSERT INTO status SELECT * EXCLUDE (n) REPLACE ('toy/x' || n AS clip_id) FROM status, "
        "range(3000) AS r(n) WHERE position = 0",
    )
    path = write_report(toy_store, "toy", STAGE)
    assert path.stat().st_size <= MOST_BYTES
    text = path.read_text()
    assert "200 of 3,0" in text
    assert "2,000 of 3,0" in text


def test_hostile_names_are_escaped(store: Store) -> None:  # noqa: F811
    path = write_report(store, "toy", "<script>")
    with pytest.raises(StoreError, match="is not a dataset"):
        write_report(store, "../<script>", "none")
    assert "<script>" not in path.read_text()
    assert "&lt;script&gt;" in path.read_text()


def test_characters_that_reorder_or_colour_text_are_escaped(toy_store: Store) -> None:
    change(toy_store, "UPDATE clips SET labels = ['\x1b[31mred', '\u202emp4', '</style><b>']")
    text = write_report(toy_store, "toy", STAGE).read_text()
    assert not set(text) & set("\x1b\u202e\u2066\r")
    assert "\\x1b[31mred" in text
    assert "</style><b>" not in text
    assert "\\x1b[31m" in write_report(toy_store, "toy", "\x1b[31m \u2066<b>").read_text()
