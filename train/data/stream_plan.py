"""From a task stream to its plan."""

from collections.abc import Mapping
from typing import Any

from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError
from avstore.train.data.plan import ContinualPlan, PlanSpec
from avstore.train.data.sources import sources


def compile_plan(
    store: OpenStore,
    tasks: Mapping[str, str] | str,
    spec: PlanSpec,
    seed: int,
    role: str = "train",
    **options: Any,
) -> ContinualPlan:
    """The plan of a task stream: by its name in the manifest, or as ordered queries by task name.

    options: those of `sample_list`; ranges=False makes a plan to look at, not to load from.
    Raises StoreError where a task has no stored clip, or too few for one batch with drop_last.
    """
    queries = stream_queries(store, tasks, role) if isinstance(tasks, str) else tasks
    samples, found = sources(store, queries, **options)
    short = [task.name for task in found if spec.drop_last and len(task) < spec.batch_size]
    if short:
        raise StoreError(
            f"{', '.join(short)}: fewer clips than a batch of {spec.batch_size}, which drop_last "
            "leaves out; make batch_size smaller"
        )
    return ContinualPlan(samples, found, spec, seed)


def stream_queries(store: OpenStore, stream: str, role: str) -> dict[str, str]:
    """The tasks of a stream in order: name to the query of its clips in that role."""
    rows = store.query(
        "SELECT DISTINCT position, task FROM tasks WHERE stream = ? AND role = ? ORDER BY position",
        [stream, role],
    ).rows()
    if not rows:
        found = store.query("SELECT DISTINCT stream FROM tasks ORDER BY 1").rows()
        known = [row["stream"] for row in found]
        raise StoreError(
            f"the store has no stream {stream!r} with the role {role!r}; it has "
            f"{', '.join(known) or 'none'} (avstore tasks add)"
        )
    quoted = stream.replace("'", "''"), role.replace("'", "''")
    return {
        row["task"]: "SELECT clip_id FROM task_clips WHERE stream = '{}' AND role = '{}' "
        "AND position = {}".format(*quoted, row["position"])
        for row in rows
    }
