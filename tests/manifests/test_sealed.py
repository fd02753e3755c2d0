"""Every flipped bit of a sealed file is seen, and nothing else writes Parquet into a store."""

import ast
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avstore.manifests import sealed
from tests.conftest import REPO

TABLE = pa.table({"name": ["one", None, "avstore-seal"], "numbers": [[1, 2], [], None]})
FILES = {
    "table.parquet": sealed.parquet_bytes(TABLE, {"avstore-fact": "1"}),
    "facts.json": sealed.json_bytes({"name": "avstore-seal:0", "list": [1.5, None]}, indent=1),
    "page.html": sealed.html_bytes("<html>avstore-seal</html>"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_of_a_sealed_file_is_seen(name: str) -> None:
    content = FILES[name]
    assert sealed.find_seal(content)
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(sealed.DamagedFileError):
            sealed.find_seal(bytes(damaged))


def test_a_sealed_file_is_read_by_others_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    sealed.write_parquet(path, TABLE, {"avstore-fact": "1"})
    assert pq.read_table(path).equals(TABLE)
    assert pq.read_schema(path).metadata is None
    assert duckdb.read_parquet(str(path)).fetchall()[0] == ("one", [1, 2])
    assert sealed.read_parquet(path, ["name"]).num_columns == 1
    assert sealed.read_facts(path)["avstore-fact"] == "1"


def test_files_of_older_versions_are_read_without_a_seal(tmp_path: Path) -> None:
    table = TABLE.slice(0, 2)
    pq.write_table(table, tmp_path / "old.parquet")
    (tmp_path / "old.json").write_text('{"a": 1}')
    assert sealed.read_parquet(tmp_path / "old.parquet").equals(table)
    assert sealed.read_json(tmp_path / "old.json") == {"a": 1}
    assert sealed.read_bytes(tmp_path / "old.json")[1] is None


@pytest.mark.parametrize(
    ("name", "content"),
    [("cut.parquet", FILES["table.parquet"][:-40]), ("cut.json", FILES["facts.json"][:20])],
)
def test_a_truncated_file_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(sealed.DamagedFileError, match=rf"{name} (is damaged|cannot be read)"):
        sealed.read_bytes(tmp_path / name)
    checked = sealed.check_files([tmp_path / name])
    assert list(checked.damage) == [tmp_path / name]


def test_only_the_sealed_module_writes_parquet() -> None:
    found = []
    for folder in ("manifests", "pipelines"):
        for path in sorted((REPO / folder).rglob("*.py")):
            text = path.read_text()
            names = {node.attr for node in ast.walk(ast.parse(text)) if hasattr(node, "attr")}
            writes = {"write_table", "ParquetWriter", "write_to_dataset", "write_dataset"} & names
            if writes or "TO_PARQUET" in text.upper() or "FORMAT PARQUET" in text.upper():
                found.append(str(path.relative_to(REPO)))
    assert found == ["manifests/sealed.py"]
