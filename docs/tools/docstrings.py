"""Read the documentation of fields: from `Field(description=…)`, else from docstrings."""

import dataclasses
import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from griffe import Docstring, DocstringSectionKind
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of"}
_NAMES = {
    "NoneType": "none",
    "Path": "path",
    "Sequence": "list",
    "bool": "true or false",
    "dict": "table",
    "float": "number",
    "int": "integer",
    "str": "text",
}
_DOCUMENTED = (DocstringSectionKind.attributes, DocstringSectionKind.parameters)


@dataclass(frozen=True)
class Setting:
    """A documented field of a settings class.

    Attributes:
        name: The key.
        kind: Its type or choices, as text.
        default: Its default as text; None where a value is required.
        text: What it does.
        section: The settings class of a nested section, or None.
        section_default: The section's default instance, or None.
    """

    name: str
    kind: str
    default: str | None
    text: str
    section: type | None = None
    section_default: Any = None


def settings_of(kind: type, defaults: Any = None) -> list[Setting]:
    """Return the documented fields of a pydantic model or a dataclass.

    Args:
        kind: The class.
        defaults: An instance whose values are the defaults of a pydantic model.
    """
    texts = described(kind)
    if issubclass(kind, BaseModel):
        return [
            _model_setting(name, field, texts, getattr(defaults, name, PydanticUndefined))
            for name, field in kind.model_fields.items()
        ]
    hints = get_type_hints(kind, include_extras=True)
    return [
        Setting(field.name, _kind(hints[field.name]), _default(field), texts.get(field.name, ""))
        for field in dataclasses.fields(kind)
    ]


def _model_setting(name: str, field: FieldInfo, texts: dict[str, str], default: Any) -> Setting:
    if default is PydanticUndefined:
        default = field.get_default(call_default_factory=True)
    section = _section(field.annotation)
    return Setting(
        name,
        _kind(field.annotation, field.metadata),
        None if default is PydanticUndefined else value_text(default),
        field.description or texts.get(name, ""),
        section,
        default if section is not None and default is not PydanticUndefined else None,
    )


def parameters_of(function: Any) -> list[Setting]:
    """Return the documented parameters of a function, or of a class's constructor."""
    texts = described(function)
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    return [
        Setting(
            name,
            _kind(hints.get(name, Any)),
            None if given.default is given.empty else value_text(given.default),
            texts.get(name, ""),
        )
        for name, given in inspect.signature(function).parameters.items()
        if given.kind is not given.VAR_KEYWORD
    ]


def described(documented: Any) -> dict[str, str]:
    """Return name -> text of the `Attributes:` and `Args:` of a docstring, parents' included."""
    texts: dict[str, str] = {}
    for owner in reversed(getattr(documented, "__mro__", (documented,))):
        for held in (owner, vars(owner).get("__init__") if inspect.isclass(owner) else None):
            doc = getattr(held, "__doc__", None)
            if doc and getattr(held, "__module__", "").startswith("avstore"):
                texts |= _parsed(inspect.cleandoc(doc))
    return texts


def _parsed(doc: str) -> dict[str, str]:
    sections = Docstring(doc).parse("google", warnings=False)
    return {
        item.name: " ".join(item.description.split())
        for section in sections
        if section.kind in _DOCUMENTED
        for item in section.value
    }


def summary(documented: Any) -> str:
    """Return the text of a docstring before its first section."""
    sections = Docstring(inspect.getdoc(documented) or "").parse("google", warnings=False)
    texts = [part.value for part in sections if part.kind is DocstringSectionKind.text]
    return str(texts[0]) if texts else ""


def value_text(value: Any) -> str:
    """Return a value as it is written in TOML; `none` for None."""
    match value:
        case None:
            text = "none"
        case bool():
            text = str(value).lower()
        case str():
            text = f'"{value}"'
        case list() | tuple():
            text = f"[{', '.join(value_text(item) for item in value)}]"
        case Mapping():
            text = "{" + ", ".join(f"{k} = {value_text(v)}" for k, v in value.items()) + "}"
        case int():
            text = f"{value:_}"
        case _:
            is_settings = isinstance(value, BaseModel) or dataclasses.is_dataclass(value)
            text = f"{type(value).__name__}()" if is_settings else str(value)
    return text


def cell(text: str) -> str:
    """Return text that is safe within a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def _default(field: "dataclasses.Field[Any]") -> str | None:
    if field.default is not dataclasses.MISSING:
        return value_text(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return value_text(field.default_factory())
    return None


def _section(annotation: Any) -> type | None:
    is_model = inspect.isclass(annotation) and issubclass(annotation, BaseModel)
    return annotation if is_model else None


def _kind(annotation: Any, metadata: Any = ()) -> str:
    """Return a type as text: choices, bounds, and what a list holds."""
    limits = [f"{sign} {getattr(m, key)}" for m in metadata for key, sign in _BOUNDS.items()
              if getattr(m, key, None) is not None]  # fmt: skip
    text = type_text(annotation)
    return f"{text} ({', '.join(limits)})" if limits else text


def type_text(annotation: Any) -> str:
    """Return a type as text: the choices of a Literal or an Enum, else its name."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(args[0], [m for held in args[1:] for m in getattr(held, "metadata", [held])])
    if origin is Literal:
        return ", ".join(value_text(choice) for choice in args)
    if origin in (Union, types.UnionType):
        return " or ".join(type_text(arg) for arg in args)
    if origin in (tuple, list):
        inner = [type_text(arg) for arg in args if arg is not Ellipsis]
        return f"list of {inner[0]}" if len(set(inner)) == 1 else f"list ({', '.join(inner)})"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "table"
    return _class_text(annotation)


def _class_text(annotation: Any) -> str:
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return ", ".join(value_text(member.value) for member in annotation)
    name = getattr(annotation, "__name__", str(annotation))
    return _NAMES.get(name, name)
