"""What the pages show, of a store with real members."""

import re
from html import unescape
from html.parser import HTMLParser
from io import BytesIO

import pyarrow.parquet as pq
import pytest

from tests.pipelines.browse.conftest import HOSTILE, change, client
from tests.train.data.store_factory import FINGERPRINT, clip_id

STAGE = f"toy-{FINGERPRINT[:8]}"
CLIP = clip_id(2)
FEATURE = "toy-feature-feedbeef"
PAGES = [
    "/",
    "/clips",
    "/clips?label=class+1&split=test&q=k&sort=-duration_s",
    "/clips?min_duration_s=1&max_duration_s=99",
    "/clips?sql=SELECT+clip_id+FROM+trainable+LIMIT+3",
    "/clips?sql=SELECT+label,+count(*)+FROM+coverage+GROUP+BY+1",
    "/facet/label",
    "/facet/duration_s",
    f"/clip/{CLIP}",
    f"/near/{CLIP}?feature={FEATURE}",
    "/classes",
    "/streams",
]


class Links(HTMLParser):
    """The addresses that a page links to or loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self.found += [named[name] for name in ("href", "src", "data-src") if named.get(name)]


def links_of(text: str) -> list[str]:
    parser = Links()
    parser.feed(text)
    return parser.found


@pytest.mark.parametrize("path", PAGES)
def test_every_page_answers_and_leads_to_pages_that_do(pages, path) -> None:
    answer = pages.get(path)
    assert answer.status_code == 200, answer.text
    for link in dict.fromkeys(links_of(answer.text)):
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in answer.text
            continue
        target = pages.get(f"/clip/{CLIP}" + link if link.startswith("?") else link)
        assert target.status_code == 200, (path, link, target.text)


def test_the_overview_counts_every_clip_once(pages) -> None:
    text = re.sub(r"<[^>]+>", "", pages.get("/").text)
    assert re.search(r"24\s+published =\s+23 stored \+\s*1 \w+", " ".join(text.split()))


def test_a_stored_clip_shows_all_that_is_known(pages) -> None:
    text = unescape(pages.get(f"/clip/{CLIP}").text)
    for part in ("Events by second", FEATURE, "11 members", "Status", f"/member/{CLIP}/flac"):
        assert part in text
    assert "Damaged" not in text


def test_a_clip_that_is_not_stored_has_a_page(pages) -> None:
    text = pages.get(f"/clip/{clip_id(23)}").text
    assert "pending" in text
    assert "<audio" not in text


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/clip/toy/nothing", "there is no clip 'toy/nothing'"),
        (f"/clip/{CLIP}?stage=other", "has no recipe 'other'"),
        (f"/near/{CLIP}?feature=x", "the store has no feature 'x'"),
        ("/clips?lable=x", "'lable' is no part of a selection (did you mean 'label'?)"),
        ("/clips?page=0", "page='0' is not a number from 1 to 400"),
        ("/clips?sort=x", "sort='x' is not one of"),
        ("/clips?min_duration_s=nan", "min_duration_s='nan' is not a number"),
        ("/clips?sql=SELECT+nothing", "the query failed: Binder Error"),
        ("/clips?sql=SELECT+1)+x%3B+SELECT+*+FROM+(SELECT+2", "more than one statement"),
        ("/clips?sql=FROM+read_csv('/etc/passwd')", "disabled"),
        ("/clips?sql=COPY+clips+TO+'/tmp/x'", "the query failed"),
        ("/facet/nothing", "there is no facet 'nothing'"),
        ("/streams/nothing", "the store has no stream 'nothing'"),
        ("/runs", "give their folder by --runs"),
    ],
)
def test_a_request_that_cannot_be_served_says_why_in_a_sentence(pages, path, part) -> None:
    answer = pages.get(path)
    assert answer.status_code in (400, 404)
    assert part in unescape(answer.text)
    assert "Traceback" not in answer.text


def test_the_gallery_has_pages(pages, monkeypatch) -> None:
    from avstore.pipelines.browse import app, gallery

    monkeypatch.setattr(gallery, "PAGE_CLIPS", 10)
    monkeypatch.setattr(app, "PAGE_CLIPS", 10)
    shown: list[str] = []
    for number in (1, 2, 3):
        text = pages.get(f"/clips?page={number}").text
        shown += re.findall(r'<figure class="clip[^"]*" data-clip="([^"]+)"', text)
        assert ('rel="next"' in text) == (number < 3)
        assert ('rel="prev"' in text) == (number > 1)
    assert sorted(shown) == sorted(clip_id(n) for n in range(24))
    assert shown[-1] == clip_id(23)  # the one that is not stored


def test_an_export_has_the_selected_clips(pages) -> None:
    rows = pages.get("/export.csv?split=test").text.splitlines()
    table = pq.read_table(BytesIO(pages.get("/export.parquet?split=test").content))
    expected = {clip_id(n) for n in range(24) if n % 4 == 3}
    assert set(table["clip_id"].to_pylist()) == expected
    assert {row.split(",")[0].strip('"') for row in rows[1:]} == expected
    assert pages.get("/export.exe").status_code == 404


def test_nearest_clips_are_those_of_the_nearest_vectors(pages) -> None:
    text = pages.get(f"/near/{CLIP}?feature={FEATURE}").text
    assert "among 23" in text
    assert text.count("<figure") == 12
    assert f'href="/clip/{CLIP}"' in text  # the heading only
    assert f"/poster/{CLIP}" not in text


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_texts_are_shown_as_texts(hostile_folder, number) -> None:
    text, clip = HOSTILE[number], clip_id(number)
    with client(hostile_folder) as found:
        for path in ("/", "/clips", f"/clip/{clip}", "/facet/label", "/facet/category", "/classes"):
            page = found.get(path)
            assert page.status_code == 200
            assert not set(page.text) & set("\x1b\u202e")
            for other in HOSTILE[:4]:
                assert other not in page.text or "<" not in other, path
            assert "60481729" not in page.text
        shown = found.get("/clips", params={"label": text, "category": text, "split": text})
        assert f'data-clip="{clip}"' in shown.text
        for link in links_of(found.get(f"/clip/{clip}").text):
            if not link.startswith(("#", "?")):
                assert found.get(link).status_code == 200, link


def test_pages_follow_a_manifest_that_a_build_publishes(own_folder, monkeypatch) -> None:
    from avstore.pipelines.browse import session

    monkeypatch.setattr(session, "_LOOK_EVERY_S", 0.0)
    with client(own_folder) as found:
        assert "class 1" in found.get("/facet/label").text
        change(own_folder, "UPDATE clips SET labels = ['renamed']")
        assert "renamed" in found.get("/facet/label").text
        assert "class 1" not in found.get("/classes").text


@pytest.mark.parametrize(
    "query",
    [
        "SELECT INTERVAL '99999999 years' AS a",
        "SELECT '\\xAA'::BLOB AS a, NULL AS a, 'x' AS \"\"\"\"",
    ],
)
def test_values_that_have_no_equal_in_python_are_shown(pages, query: str) -> None:
    answer = pages.get("/clips", params={"sql": query})
    assert answer.status_code == 200
    assert "99999999 years" in answer.text or "<td>\\xAA</td><td></td><td>x</td>" in answer.text


def test_large_values_of_a_query_are_cut(pages) -> None:
    query = "SELECT repeat('x', 1000000) AS a FROM range(20)"
    answer = pages.get("/clips", params={"sql": query})
    assert len(answer.content) < 100_000
    assert "x…</td>" in answer.text


@pytest.mark.parametrize("content", [None, b"", b"junk" * 5000])
def test_pages_come_back_when_the_manifest_does(own_folder, monkeypatch, content) -> None:
    monkeypatch.setattr("avstore.pipelines.browse.session._LOOK_EVERY_S", 0.0)
    manifest, aside = own_folder / "manifest.duckdb", own_folder / "aside"
    with client(own_folder) as own:
        assert own.get("/clips").status_code == 200
        manifest.rename(aside)
        if content is not None:
            manifest.write_bytes(content)
        for _ in range(2):
            answer = own.get("/clips")
            assert answer.status_code == 400
            assert "closed" not in answer.text
        aside.rename(manifest)
        assert own.get("/clips").status_code == 200
