"""Fingerprints of settings: equal fingerprints mean equal results.

A key that is added later must not change the fingerprint of anything that exists already, so keys
marked `AddedWith` are left out of the fingerprint as long as they have that value.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class AddedWith:
    """Mark of a key that was added to settings which have fingerprints already.

        layout: Annotated[Literal["mono", "foa"], AddedWith("mono")] = "mono"

    If the default of the key changes later, leave the mark as it is.

    Attributes:
        default: The value that gives the results of the time before the key, which is the key's
            default when it is added.
    """

    default: Any


def canonical(settings: BaseModel, exclude: Any = None) -> dict[str, Any]:
    """Return the settings that decide a result, as JSON types.

    Args:
        settings: Settings; nested models are followed.
        exclude: Keys that decide no result, as `BaseModel.model_dump` takes them.
    """
    form = settings.model_dump(mode="json", exclude=exclude)
    _leave_out(settings, form)
    return form


def digest(form: dict[str, Any]) -> str:
    """Return the sha256 (hex) of a canonical form."""
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the keys in which two canonical forms differ, as 'optim.lr 0.0001 -> 0.01'."""
    lines = []
    for key in sorted({*old, *new}):
        one, other = old.get(key, "absent"), new.get(key, "absent")
        if isinstance(one, dict) and isinstance(other, dict):
            lines += differences(one, other, f"{prefix}{key}.")
        elif one != other:
            lines.append(f"{prefix}{key} {one} -> {other}")
    return lines


def _leave_out(settings: BaseModel, form: dict[str, Any]) -> None:
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if AddedWith(value) in field.metadata:
            form.pop(name, None)
        elif isinstance(value, BaseModel) and name in form:
            _leave_out(value, form[name])
