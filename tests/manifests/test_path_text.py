"""Test that every path can be recorded, opened again and printed."""

import io
import json
import os

import duckdb
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from avstore.manifests.columns import arrow_table
from avstore.manifests.path_text import (
    PRINT_ERRORS,
    path_text,
    printable_text,
    text_path,
    valid_text,
    valid_value,
)

_ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(name=st.binary(max_size=40).filter(lambda name: b"\x00" not in name))
@example(name=b"caf\xe9")
@example(name=rb"caf\xe9")
@example(name=b"\\\xe9 \\x5c \\x5cxe9 \\xc3")
@example(name="café \U0001f3ac".encode())
def test_every_file_name_is_recorded_and_found_again(name: bytes) -> None:
    path = os.fsdecode(name)
    text = path_text(path)
    text.encode()
    assert os.fsencode(text_path(text)) == name


@given(path=_ANY_TEXT.filter(lambda path: "\x00" not in path))
def test_recording_is_reversible_for_every_string(path: str) -> None:
    assert text_path(path_text(path)) == path


@given(first=_ANY_TEXT, second=_ANY_TEXT)
def test_two_paths_are_never_recorded_as_one(first: str, second: str) -> None:
    paths = [x.replace("\x00", "") for x in (first, second)]
    assert (path_text(paths[0]) == path_text(paths[1])) == (paths[0] == paths[1])


@given(path=st.text(st.characters(exclude_characters="\\\x00", exclude_categories=["Cs"])))
def test_usual_names_are_recorded_as_they_are(path: str) -> None:
    assert path_text(path) == path


@given(text=_ANY_TEXT)
def test_valid_text_passes_json_parquet_and_duckdb(text: str) -> None:
    valid = valid_text(text)
    assert valid_text(valid) == valid
    table = arrow_table([{"t": text}], pa.schema([("t", pa.string())]))
    with duckdb.connect() as con:
        con.register("texts", table)
        assert len(con.sql("SELECT t, length(t) FROM texts").fetchall()) == 1
        assert con.execute("SELECT ?::VARCHAR", [valid]).fetchall() == [(valid,)]
        dumped = json.dumps(valid_value({text: [text]}))
        assert con.execute("SELECT ?::JSON::VARCHAR", [dumped]).fetchall()


@given(text=_ANY_TEXT, encoding=st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_every_text_can_be_printed(text: str, encoding: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=PRINT_ERRORS)
    stream.write(text)
    stream.flush()


def test_a_terminal_shows_the_recorded_form() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=PRINT_ERRORS)
    stream.write(os.fsdecode(b"caf\xe9"))
    stream.flush()
    assert stream.buffer.getvalue() == rb"caf\xe9"


@given(text=_ANY_TEXT)
def test_printable_text_encodes_and_stays_as_it_is(text: str) -> None:
    shown = printable_text(text)
    shown.encode()
    assert printable_text(shown) == shown
    assert not set(shown) & set("\x00\x07\r\x1b\x7f\x9b\u202e\u2069")


def test_plain_texts_are_printed_unchanged() -> None:
    for text in ("a\tb\nc", "naïve café \U0001f3ac", "\u05e9\u05dc\u05d5\u05dd", r"C:\new"):
        assert printable_text(text) == text
    name = os.fsdecode(b"caf\xe9")
    assert printable_text(f"no {name!r}") == r"no 'caf\xe9'"
