"""Choose the recipe whose samples a list takes, one for each dataset."""

import logging
from collections.abc import Sequence

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
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Choose one recipe for each dataset of the wanted clips, and write table `stages_chosen`.

    Args:
        con: A connection with the table `wanted`.
        recipe: Name or stage (<recipe>-<fp8>) to choose; None for the one with the most clips.

    Returns:
        (dataset, stage) pairs, and a sentence for each other stage that holds some of the clips.
    """
    found = con.execute(_STAGES, {"recipe": recipe}).fetchall()
    clips: dict[tuple[str, str], int] = {}
    if len({dataset for dataset, _, _ in found}) < len(found):  # take the one with the most clips
        clips = {(row[0], row[1]): row[2] for row in con.execute(_STAGE_CLIPS).fetchall()}
        found = [row for row in found if (row[0], row[2]) in clips]
        found.sort(key=lambda row: (row[0], -clips[row[0], row[2]], row[1]))
    chosen: dict[str, tuple[str, str]] = {}
    others = []
    for dataset, stage, fingerprint in found:
        if dataset in chosen:
            others.append(
                f"{dataset} is stored by several recipes: {chosen[dataset][0]} is used, not "
                f"{stage} ({clips[dataset, fingerprint]} of the clips); choose one with recipe=, "
                f"or by its folder as the store (STORE/shards/{dataset}/{stage})"
            )
        chosen.setdefault(dataset, (stage, fingerprint))
    con.execute("CREATE TEMP TABLE stages_chosen (dataset VARCHAR, fingerprint VARCHAR)")
    for dataset, (_, fingerprint) in chosen.items():
        con.execute("INSERT INTO stages_chosen VALUES (?, ?)", [dataset, fingerprint])
    return tuple((dataset, stage) for dataset, (stage, _) in chosen.items()), tuple(others)


def warn_of_others(others: Sequence[str]) -> None:
    """Warn of stages that hold the clips too and were not chosen."""
    for sentence in others:
        _LOG.warning(sentence)
