"""Write a configuration as TOML, every setting with its value."""

import json
from typing import Any

from avstore.train.config import RunConfig


def to_toml(config: RunConfig) -> str:
    """Return a configuration as TOML; a setting without a value is a comment.

    The text, saved as a file, is a configuration that gives the same run.
    """
    table = config.model_dump(mode="json")
    table.pop("name", None)  # the file's name takes its place
    return "\n".join(_section(table, ())).strip() + "\n"


def _section(table: dict[str, Any], place: tuple[str, ...]) -> list[str]:
    lines = [f"[{'.'.join(place)}]"] if place else []
    below = {key: value for key, value in table.items() if isinstance(value, dict)}
    for key, value in table.items():
        if value is None:
            lines.append(f"# {key} =")
        elif key not in below:
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    for key, value in below.items():
        lines += ["", *_section(value, (*place, key))]
    return lines
