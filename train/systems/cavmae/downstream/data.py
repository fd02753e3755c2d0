"""The clips of a downstream run: those of all tasks of a stream, in one list to train on."""

from dataclasses import dataclass, replace

from avstore.train.data import OpenStore, QuerySource, SampleList
from avstore.train.tasks import Stream, Wanted, load_tasks, training_parts


@dataclass(frozen=True)
class DownstreamData:
    """Store and clips of a downstream run.

    Attributes:
        store: The store.
        stream: The tasks, whose clips are scored.
        train: Clips to train on.
        parts: All of them, as the one task of a plan.
    """

    store: OpenStore
    stream: Stream
    train: SampleList
    parts: tuple[QuerySource, ...]

    @property
    def lists(self) -> tuple[SampleList, ...]:
        """The clips to train on, and those of each task to score and to select weights by."""
        tasks = self.stream.tasks
        scored = [clips for t in tasks for clips in (t.evaluation, t.validation) if clips]
        return (self.train, *scored)


def load_data(
    store: OpenStore,
    stream: str | None,
    roles: tuple[str, ...],
    segments: str | None = None,
    labels: str | None = None,
    *,
    validate: bool = False,
    videos: bool = False,
    command: tuple[str, ...] | None = None,
) -> DownstreamData:
    """Return the clips of a stream.

    Args:
        store: The store.
        stream: The stream's name; None for the first whose tasks all have clips.
        roles: Roles of the clips to score: the first that has any.
        segments: Modality of the segment labels that are needed.
        labels: Label set to score by, as `Wanted` has it.
        validate: Whether weights are selected by the clips of the role `val`.
        videos: Whether to keep which video a clip is cut from, as `training_parts` does.
        command: Words of the command that errors advise, as `Wanted` has them.
    """
    wanted = Wanted(roles, segments=segments, labels=labels, validate=validate, command=command)
    tasks = load_tasks(store, stream, wanted)
    train, parts = training_parts(store, tasks, together=True, segments=segments, videos=videos)
    named = tuple(replace(part, name=tasks.name) for part in parts)
    return DownstreamData(store, tasks, train, named)
