"""Which recipe's samples a list takes, where a dataset is stored by several."""

import logging

import duckdb

_LOG = logging.getLogger("avstore")
_STAGES = """
SELECT dataset, recipe || '-' || left(fingerprint, 8) AS stage, fingerprint FROM shards
WHERE $recipe IS NULL OR $recipe IN (recipe, recipe || '-' || left(fingerprint, 8))
GROUP BY ALL ORDER BY dataset, stage
"""
_STAGE_CLIPS = """
SELECT h.dataset, h.fingerprint, count(DISTINCT s.clip_id) AS clips
FROM wanted w JOIN samples s USING (clip_id) JOIN shards h ON h.path = s.shard GROUP BY ALL
"""


def choose_stages(
    con: duckdb.DuckDBPyConnection, recipe: str | None
) -> tuple[tuple[str, str], ...]:
    """Table `stages_chosen`: of each dataset one recipe; what was chosen."""
    found = con.execute(_STAGES, {"recipe": recipe}).fetchall()
    clips: dict[tuple[str, str], int] = {}
    if len({dataset for dataset, _, _ in found}) < len(found):  # a choice: the one with most clips
        clips = {(row[0], row[1]): row[2] for row in con.execute(_STAGE_CLIPS).fetchall()}
        found = [row for row in found if (row[0], row[2]) in clips]
        found.sort(key=lambda row: (row[0], -clips[row[0], row[2]], row[1]))
    chosen: dict[str, tuple[str, str]] = {}
    for dataset, stage, fingerprint in found:
        if dataset in chosen:
            _LOG.warning(
                "%s is stored by several recipes: %s is used, not %s (%d of the clips); "
                "name one with recipe=",
                *(dataset, chosen[dataset][0], stage, clips[dataset, fingerprint]),
            )
        chosen.setdefault(dataset, (stage, fingerprint))
    con.execute("CREATE TEMP TABLE stages_chosen (dataset VARCHAR, fingerprint VARCHAR)")
    for dataset, (_, fingerprint) in chosen.items():
        con.execute("INSERT INTO stages_chosen VALUES (?, ?)", [dataset, fingerprint])
    return tuple((dataset, stage) for dataset, (stage, _) in chosen.items())
