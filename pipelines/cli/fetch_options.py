"""Parse the KEY=VALUE texts of --fetch-option."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from avstore.manifests.nearest import did_you_mean
from avstore.manifests.store import StoreError
from avstore.pipelines.fetch.source import FetchOptions


def parse_fetch_options(options: Sequence[str]) -> FetchOptions:
    """Return the FetchOptions that texts such as `rate_per_hour=200` set.

    Args:
        options: KEY=VALUE texts. A VALUE is JSON; if it is not valid JSON, it is plain text.

    Raises:
        StoreError: A text is not KEY=VALUE, its KEY is unknown, or its VALUE is of another type.
    """
    values: dict[str, Any] = {}
    known = FetchOptions.__dataclass_fields__
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key not in known:
            raise StoreError(
                f"--fetch-option {option!r} is not KEY=VALUE with a KEY of: {', '.join(known)}"
                + did_you_mean(key, known)
            )
        values[key] = _value(value)
    try:
        return TypeAdapter(FetchOptions).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise StoreError(
            f"--fetch-option {key}={first['input']!r}: {first['msg'].lower()}"
        ) from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
