"""Say which command repairs a store: the one place for the commands that others print.

In an error, a command is the end of the line, after `run: `; in a listing it has a line of its own.
Each can be pasted into a shell.
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from avstore.manifests import commands
from avstore.manifests.path_text import text_path
from avstore.manifests.store import Store

if TYPE_CHECKING:
    import duckdb

_INCOMPLETE = """
SELECT DISTINCT dataset, stage FROM plans WHERE NOT done
UNION
SELECT DISTINCT split_part(clip_id, '/', 1), 'fetch' FROM attempts
WHERE split_part(clip_id, '/', 1) NOT IN (SELECT name FROM datasets)
UNION
SELECT DISTINCT dataset, recipe || '-' || left(fingerprint, 8) FROM shards
WHERE dataset NOT IN (SELECT name FROM datasets)
ORDER BY ALL
"""
_RUNS = """
SELECT command, config FROM runs WHERE command IN ('build ' || $dataset, 'import ' || $dataset)
ORDER BY coalesce(config->>'fingerprint', '')[:8] = $fp8 DESC, starts_with(command, 'import') DESC,
         seq DESC
LIMIT 1
"""
_BUILDS = """
SELECT config->'arguments' FROM runs
WHERE command = 'build ' || $dataset AND config->>'arguments' IS NOT NULL
ORDER BY seq DESC LIMIT 1
"""
_IMPORT_RUNS = """
SELECT config FROM runs
WHERE command = 'features import ' || $feature AND config->>'dataset' = $dataset
  AND config->>'arguments' IS NOT NULL
ORDER BY seq DESC LIMIT 1
"""
_FEATURE_RUNS = """
SELECT config FROM runs
WHERE command = 'features build ' || $feature
ORDER BY coalesce(config->>'dataset', $dataset) = $dataset DESC, seq DESC LIMIT 1
"""


def repair_command(store: Store) -> str:
    """Return the command that finds all damage, repairs the store and says how to complete it."""
    return commands.avstore("verify", "--repair", store=store.root)


def completing_commands(
    con: "duckdb.DuckDBPyConnection", store: Store, lost: Iterable[str] = ()
) -> list[str]:
    """Return the builds that write missing shards again, as the ledger's runs recorded them.

    Args:
        con: The manifest.
        store: The store's paths.
        lost: Companion shards that are gone, relative to the store.
    """
    stages = con.execute(_INCOMPLETE).fetchall()
    found = [_build(con, store, dataset, stage) for dataset, stage in stages]
    companions = [name for name in lost if _feature(name)]
    return list(dict.fromkeys([*found, *(_feature_build(con, store, x) for x in companions)]))


def recipe_build(con: "duckdb.DuckDBPyConnection", store: Store, dataset: str, recipe: str) -> str:
    """Return the build of a dataset by another recipe, from the source of its last build.

    Args:
        con: The manifest.
        store: The store's paths.
        dataset: The dataset.
        recipe: The recipe.
    """
    rows = con.execute(_BUILDS, {"dataset": dataset}).fetchall()
    words = [text_path(word) for word in json.loads(rows[0][0])] if rows else ["build", dataset]
    if "--recipe" in words:
        place = words.index("--recipe")
        words = words[:place] + words[place + 2 :]
    words = [word for word in words if word != "--annotations-only"]
    words += [] if "--source" in words else ["--source", "/path/to/videos"]
    if not rows:
        words += ["--annotations", "/path/to/annotations"]
    return commands.avstore(*words, "--recipe", recipe, store=store.root)


def _feature(shard: str) -> str:
    """Return the feature of a companion shard, '' for a base shard."""
    name = shard.rsplit("/", 1)[-1].removesuffix(".tar")
    return name.partition(".")[2].rpartition("-")[0]


def _build(con: "duckdb.DuckDBPyConnection", store: Store, dataset: str, stage: str) -> str:
    values = {"dataset": dataset, "fp8": stage.rpartition("-")[2]}
    rows = con.execute(_RUNS, values).fetchall()
    name, config = rows[0] if rows else ("", None)
    facts: dict[str, Any] = json.loads(config or "{}")
    if words := facts.get("arguments"):
        return commands.avstore(*map(text_path, words), store=store.root)
    words = ["exchange", "from"] if name.startswith("import") else ["build", dataset]
    if facts.get("source") not in (None, str(store.root / "sample" / "videos")):
        words += ["--source", text_path(facts["source"])]
        files = ",".join(map(text_path, facts["annotations"]))
        words += ["--annotations", files] if files else []
    for option in ("recipe", "shard_clips", "limit"):
        if facts.get(option) is not None:
            words += [f"--{option.replace('_', '-')}", str(facts[option])]
    return commands.avstore(*words, store=store.root)


def _feature_build(con: "duckdb.DuckDBPyConnection", store: Store, shard: str) -> str:
    feature, (_, dataset, stage, *_) = _feature(shard), shard.split("/")
    values = {"feature": feature, "dataset": dataset}
    imported = con.execute(_IMPORT_RUNS, values).fetchall() if stage == "imported" else []
    if imported:
        return commands.avstore(
            *map(text_path, json.loads(imported[0][0])["arguments"]), store=store.root
        )
    rows = con.execute(_FEATURE_RUNS, values).fetchall()
    facts: dict[str, Any] = json.loads(rows[0][0]) if rows else {}
    words = ["features", "build", facts.get("extractor") or feature, "--dataset", dataset]
    words += ["--recipe", facts.get("recipe") or stage] if stage != "labels" else []
    for name, value in (facts.get("parameters") or {}).items():
        words += ["--set", f"{name}={value}"]
    words += ["--weights", facts["weights"]] if facts.get("weights") else []
    seed = facts.get("random_seed")
    words += ["--random-weights", str(seed)] if seed is not None else []
    return commands.avstore(*words, store=store.root)
