"""Each column of a clip is declared once: in schema.sql, and followed by every other place."""

import subprocess
import sys
from dataclasses import fields
from importlib.resources import files

import duckdb

from avstore.datasets.spec import BadRow, Clip, Label, Segment
from avstore.manifests.columns import table_schema
from avstore.manifests.sidecar import SCHEMA, SIDECAR_COLUMNS
from avstore.pipelines.extract.records import MediaFacts, Quality


def test_arrow_schemas_are_those_of_duckdb() -> None:
    with duckdb.connect() as con:
        con.execute(files("avstore.manifests").joinpath("schema.sql").read_text())
        tables = [
            name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        ]
        assert len(tables) > 15
        for table in tables:
            created = con.sql(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema
            assert table_schema(table).equals(created), table


def test_dataclasses_have_the_columns_of_their_tables() -> None:
    def names(kind: type) -> list[str]:
        return [field.name for field in fields(kind)]

    assert ["clip_id", *names(Clip), "position"] == table_schema("clips").names
    assert ["dataset", *names(Label)] == table_schema("labels").names
    assert names(Segment) == table_schema("segments").names
    assert ["dataset", *names(BadRow)] == table_schema("annotation_errors").names
    facts = table_schema("media", without=("clip_id", "path", "fetched_at"))
    assert names(MediaFacts) == facts.names
    keys = ("clip_id", "fingerprint", "verdict", "detail", "extracted_at", "seq")
    assert names(Quality) == table_schema("quality", without=keys).names


def test_sidecar_has_every_column_that_a_table_takes_from_it() -> None:
    for table, columns in SIDECAR_COLUMNS.items():
        schema = table_schema(table)
        assert set(columns.values()) <= set(SCHEMA.names)
        for name, source in columns.items():
            assert SCHEMA.field(source).type == schema.field(name).type, (table, name)
    media, quality = SIDECAR_COLUMNS["media"], SIDECAR_COLUMNS["quality"]
    assert list(media) == table_schema("media").names
    assert list(quality) == table_schema("quality").names


def test_rows_are_written_without_importing_pandas_and_still_convert_to_it() -> None:
    code = """
import sys
import pyarrow as pa
from avstore.manifests.columns import skip_pandas_import
skip_pandas_import()
table = pa.Table.from_pylist([{"a": 1, "b": ["x"]}])
assert "pandas" not in sys.modules
assert table.to_pandas().a.tolist() == [1]
import pandas
assert pa.array(pandas.Series([1.0, None])).null_count == 1
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
