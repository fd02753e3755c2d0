"""What `fidelity = "published"` means: which named switches it sets, and for which bug.

The numbers are those of docs/published.md, which says what each bug does. Every switch can be set
alone as well; one that a recipe or the command line sets is left as it is set.
"""

from typing import Any

# Settings of every run, then options of the methods that have them.
SWITCHES: dict[str, tuple[str, Any]] = {
    "B10": ("optim.ignore_schedule", True),
    "B11": ("model.audio_pos", "published"),
    "B22": ("ties", "published"),
}
METHOD_SWITCHES: dict[str, tuple[str, Any]] = {
    "B7": ("avm_merge", "published"),
    "B8": ("core_order", "published"),
    "B23": ("memory_share", 0.2),
}


def publish(table: dict[str, Any]) -> None:
    """Set the switches of every run in a recipe's table, where it does not say otherwise."""
    for key, value in SWITCHES.values():
        *parents, last = key.split(".")
        place = table
        for parent in parents:
            place = place.setdefault(parent, {})
        place.setdefault(last, value)


def publish_options(options: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """A method's options with its own switches set, where they do not say otherwise."""
    own = {key: value for key, value in METHOD_SWITCHES.values() if key in known}
    return {**own, **options}


# Downstream runs, by task.
DOWNSTREAM: dict[str, dict[str, tuple[str, Any]]] = {
    "event": {"B13": ("audio_windows", "published")},
    "segment": {"B6": ("crop", True)},
}


def publish_downstream(table: dict[str, Any]) -> None:
    """Set the switches of a downstream recipe, and report the epoch that scored best."""
    table.setdefault("select", "best")
    for key, value in DOWNSTREAM.get(str(table.get("task")), {}).values():
        table.setdefault(key, value)
