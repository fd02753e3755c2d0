"""KEY=VALUE words of --fetch-option, checked against the fields of FetchOptions."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from avstore.manifests.store import StoreError
from avstore.pipelines.fetch.source import FetchOptions


def parse_fetch_options(words: Sequence[str]) -> FetchOptions:
    """FetchOptions from words like `rate_per_hour=200`; values are JSON, or text as it stands.

    Raises StoreError naming the word, and what is allowed.
    """
    values: dict[str, Any] = {}
    known = FetchOptions.__dataclass_fields__
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            raise StoreError(
                f"--fetch-option {word!r} is not KEY=VALUE with a KEY of: {', '.join(known)}"
            )
        values[key] = _value(value)
    try:
        return TypeAdapter(FetchOptions).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StoreError(
            f"--fetch-option {where}={first['input']!r}: {first['msg'].lower()}"
        ) from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
