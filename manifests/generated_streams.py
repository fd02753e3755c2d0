"""Generate task streams from parameters: by class, by domain, by groups of source videos."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from avstore.manifests.streams import StreamError, StreamSpec, from_table

_EVAL_SPLITS = ["test", "eval"]
_BY = {
    "category": "category = $domain",
    "subset": "list_contains(subsets, $domain)",
    "dataset": "dataset = $domain",
}
_TRAIN = """
SELECT clip_id FROM stored_clips
WHERE {where} AND split = 'train' AND verdict IS DISTINCT FROM 'silent'
"""
_EVAL = """
SELECT clip_id FROM stored_clips
WHERE {where} AND split IN $eval_splits AND verdict IS DISTINCT FROM 'silent'
"""
_CLASSES = "dataset = $dataset AND list_has_any(label_ids, $classes)"
_VIDEOS = "dataset = $dataset AND source_id IN (SELECT unnest($videos))"
_EXCLUSIVE = " AND NOT list_has_any(label_ids, $other_classes)"
_CAP = """QUALIFY row_number() OVER (PARTITION BY label_ids[1] ORDER BY position)
  <= $train_clips_per_class
"""
_DRAW = """QUALIFY row_number() OVER (
  PARTITION BY label_ids[1] ORDER BY md5(clip_id || $seed), clip_id
) <= $retrieval_clips_per_class
"""


def class_incremental(
    name: str,
    dataset: str,
    label_ids: Sequence[int],
    classes_per_task: int,
    order: str = "id",
    seed: int = 0,
    exclusive: bool = True,
    **parameters: Any,
) -> StreamSpec:
    """Return a stream of tasks with `classes_per_task` classes each; the last may have fewer.

    Args:
        name: Name of the stream.
        dataset: Dataset of the clips.
        label_ids: Classes to use.
        classes_per_task: Number of classes per task.
        order: `id` (as given) or `random` (shuffled by `seed`).
        seed: Seed of the order and of drawn clips.
        exclusive: Leave out clips with labels of two tasks, so that no task sees another's classes.
        parameters: `train_clips_per_class`, `retrieval_clips_per_class`.

    Raises:
        StreamError: A parameter is out of range.
    """
    if classes_per_task < 1 or order not in {"id", "random"}:
        raise StreamError(
            f"stream {name!r}: classes_per_task must be at least 1 (it is {classes_per_task!r}), "
            f"and order 'id' or 'random' (it is {order!r})"
        )
    classes = list(label_ids)
    if order == "random":
        classes.sort(key=lambda label_id: _draw(seed, label_id))
    chunks = [classes[i : i + classes_per_task] for i in range(0, len(classes), classes_per_task)]
    where = _CLASSES + (_EXCLUSIVE if exclusive and len(chunks) > 1 else "")
    width = len(str(len(chunks) - 1))
    tasks = [{"task": f"task{i:0{width}}", "classes": chunk} for i, chunk in enumerate(chunks)]
    return _stream(name, where, tasks, {"dataset": dataset, "seed": seed, **parameters})


def domain_incremental(
    name: str, by: str, domains: Sequence[str], dataset: str | None = None, **parameters: Any
) -> StreamSpec:
    """Return a stream with one task per domain, in the given order.

    Args:
        name: Name of the stream.
        by: What a domain is: `category`, `subset` or `dataset`.
        domains: The domains.
        dataset: Dataset to restrict the clips to.
        parameters: `train_clips_per_class`, `retrieval_clips_per_class`.

    Raises:
        StreamError: `by` is unknown.
    """
    if by not in _BY:
        raise StreamError(f"stream {name!r}: by {by!r} is not one of {', '.join(_BY)}")
    where = _BY[by] + ("" if dataset is None else " AND dataset = $dataset")
    tasks = [{"task": domain, "domain": domain} for domain in domains]
    own = {} if dataset is None else {"dataset": dataset}
    return _stream(name, where, tasks, {**own, **parameters})


def video_groups(
    name: str, groups: Mapping[str, Sequence[str]], dataset: str, **parameters: Any
) -> StreamSpec:
    """Return a stream with one task per group of source videos, in the given order.

    Args:
        name: Name of the stream.
        groups: The ids of the source videos (`source_id`) of each group, by its name.
        dataset: Dataset of the clips.
        parameters: `train_clips_per_class`, `retrieval_clips_per_class`.

    Raises:
        StreamError: There is no group.
    """
    if not groups:
        raise StreamError(f"stream {name!r}: there is no group of videos; give at least one")
    tasks = [{"task": group, "videos": [*videos]} for group, videos in groups.items()]
    return _stream(name, _VIDEOS, tasks, {"dataset": dataset, **parameters})


def _stream(
    name: str, where: str, tasks: Sequence[dict[str, Any]], parameters: dict[str, Any]
) -> StreamSpec:
    evaluated = _EVAL.format(where=where)
    queries = {"train": _TRAIN.format(where=where), "eval": evaluated, "retrieval": evaluated}
    if "train_clips_per_class" in parameters:
        queries["train"] += _CAP
    if "retrieval_clips_per_class" in parameters:
        queries["retrieval"] += _DRAW
    table = {"name": name, "eval_splits": _EVAL_SPLITS, **parameters}
    return from_table({**table, "queries": queries, "tasks": list(tasks)}, f"stream {name!r}")


def _draw(seed: int, label_id: int) -> str:
    return hashlib.md5(f"{label_id} {seed}".encode(), usedforsecurity=False).hexdigest()
