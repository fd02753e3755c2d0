"""Tables of predictions: scores by class and by threshold."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from avstore.train.evaluation.events import event_accuracy, event_accuracy_by_class
from avstore.train.evaluation.parsing import parsing, parsing_by_class
from avstore.train.systems.valor.figures.predictions import Predictions

Rows = list[dict[str, Any]]
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


def by_class(predictions: Predictions, threshold: float) -> Rows:
    """Return a row a class: its annotated clips, and its F over all clips together, in percent."""
    known = predictions.annotated
    truth = predictions.truth[known]
    scores = parsing_by_class(predictions.events(threshold)[known], truth)
    clips = truth.amax(1).sum(0).int().tolist()  # [2, C]
    return [
        {"class": label, "heard_clips": clips[0][number], "seen_clips": clips[1][number]}
        | {name: _plain(float(values[number])) for name, values in scores.items()}
        for number, label in enumerate(predictions.labels)
    ]


def events_by_class(predictions: Predictions) -> Rows:
    """Return a row a class, background included: its seconds, and the share found, in percent."""
    scores, truth = predictions.seconds[:, :, 0], predictions.truth[:, :, 0]
    found = event_accuracy_by_class(scores, truth).tolist()
    return [
        {"class": label, "seconds": int(seconds), "accuracy": _plain(accuracy)}
        for label, seconds, accuracy in zip(
            predictions.labels, truth.sum((0, 1)).tolist(), found, strict=True
        )
    ]


def events_by_clip(predictions: Predictions) -> Rows:
    """Return a row a clip, the best first: the accuracy over its seconds, in percent."""
    rows = []
    for number, clip_id in enumerate(predictions.clip_ids):
        own = slice(number, number + 1)
        scores = event_accuracy(predictions.seconds[own, :, 0], predictions.truth[own, :, 0])
        rows.append({"clip_id": clip_id, "clip": number, **scores})
    return sorted(rows, key=lambda row: -row["accuracy"])


def by_threshold(predictions: Predictions, thresholds: Sequence[float] = THRESHOLDS) -> Rows:
    """Return a row a threshold: the scores of `parsing` with it."""
    known = predictions.annotated
    truth = predictions.truth[known]
    return [
        {"threshold": threshold, **parsing(predictions.events(threshold)[known], truth)}
        for threshold in thresholds
    ]


def by_clip(predictions: Predictions, threshold: float) -> Rows:
    """Return a row an annotated clip, the best first: the mean of its six F-scores, in percent."""
    events = predictions.events(threshold)
    rows = []
    for number in torch.nonzero(predictions.annotated).flatten().tolist():
        own = slice(number, number + 1)
        scores = parsing(events[own], predictions.truth[own])
        rows.append({"clip_id": predictions.clip_ids[number], "clip": number, **scores})
    return sorted(rows, key=lambda row: -(row["segment_type"] + row["event_type"]))


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
