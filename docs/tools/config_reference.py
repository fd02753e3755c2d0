"""Generate the reference of every configuration key from the classes that check them."""

from dataclasses import replace

from avstore.manifests import generated_streams, streams
from avstore.pipelines.build.task_streams import load_stream
from avstore.pipelines.extract.recipe import Recipe
from avstore.pipelines.fetch.source import FetchOptions
from avstore.train.config import Config
from avstore.train.data import BatchSpec, ErrorPolicy, Loader, PlanSpec
from avstore.train.data.random_spec import Augment
from avstore.train.methods import METHODS, find_method
from avstore.train.systems.cavmae.downstream.config import DownstreamConfig
from docs.tools.docstrings import (
    Setting,
    cell,
    described,
    parameters_of,
    settings_of,
    summary,
    table,
    value_text,
)

DOCUMENTED = (
    Recipe,
    FetchOptions,
    streams.StreamSpec,
    Config,
    DownstreamConfig,
    BatchSpec,
    Augment,
    ErrorPolicy,
    PlanSpec,
)
"""Classes whose every field the page lists."""

_HEADS = ("key", "value", "default", "meaning")


def page() -> str:
    """Return the page: every key of every settings class, with default and meaning."""
    lines = ["# Configuration", "", "Generated from the code.", ""]
    lines += _model("Extraction recipe", "Files of `pipelines/extract/recipes/`; see [recipes]"
                    "(../recipes.md).", Recipe)  # fmt: skip
    lines += _model("Fetch options", "`--fetch-option KEY=VALUE`, values as JSON; see [fetching]"
                    "(../fetching.md).", FetchOptions)  # fmt: skip
    lines += _streams()
    lines += _model("Training config", "Files of `train/configs/` and `--set KEY=VALUE`; see "
                    "[training](../training.md). A section is a TOML table: `--set optim.lr=1e-4`. "
                    '`extends = "NAME"` starts from another config.', Config)  # fmt: skip
    lines += _methods()
    lines += _model("Evaluation config", "Files of `train/configs/downstream/` and `--set` of "
                    "`train/evaluate.py`.", DownstreamConfig)  # fmt: skip
    lines += _loader()
    return "\n".join(lines).rstrip() + "\n"


def _model(title: str, intro: str, kind: type) -> list[str]:
    settings = settings_of(kind)
    own = [setting for setting in settings if setting.section is None]
    lines = [f"## {title}", "", intro, "", *_table(own)]
    for setting in settings:
        if setting.section is not None:
            lines += [f"### {title}: `[{setting.name}]`", "", summary(setting.section), ""]
            lines += _table(settings_of(setting.section, setting.section_default))
    return lines


def _streams() -> list[str]:
    lines = ["## Task stream", "", "Files of `av_datasets/streams/` and of `avstore tasks add`; "
             "see [task streams](../datasets.md#task-streams).", ""]  # fmt: skip
    for function in (load_stream, streams.from_table):
        lines += [summary(function).partition("\n\n")[2], ""]
    lines += _table(_stream_keys())
    for kind, function in (
        ("class-incremental", generated_streams.class_incremental),
        ("domain-incremental", generated_streams.domain_incremental),
    ):
        lines += [f'### Task stream: `[generate]`, kind = "{kind}"', "", summary(function), ""]
        keys = [s for s in parameters_of(function) if s.name not in ("name", "label_ids")]
        extra = described(function).get("**parameters") or described(function).get("parameters")
        lines += _table([*keys, Setting("other keys", "", "none", extra or "")])
    return lines


def _stream_keys() -> list[Setting]:
    """Return a stream's keys, with the defaults of a stream that has only the required ones."""
    required = {"name": "NAME", "tasks": []}
    example = streams.from_table(required, "example")
    keys = [
        replace(
            setting,
            default=None
            if setting.name in required
            else value_text(getattr(example, setting.name)),
        )
        for setting in settings_of(type(example))
        if setting.name != "parameters"
    ]
    return [*keys, Setting("other keys", "any", "none", described(type(example))["parameters"])]


def _methods() -> list[str]:
    lines = ["### Training config: `[options]`", "", "Settings of each method.", ""]
    for name in METHODS:
        settings = settings_of(find_method(name).Options)
        if settings:
            lines += [f"**`{name}`**", "", *_table(settings)]
    return lines


def _loader() -> list[str]:
    lines = ["## Batches", "", "Arguments of the classes of `avstore.train.data`; see "
             "[the loader](../loader.md).", ""]  # fmt: skip
    for kind in (BatchSpec, Augment, ErrorPolicy, PlanSpec):
        lines += [f"### {kind.__name__}", "", summary(kind), "", *_table(settings_of(kind))]
    return [*lines, "### Loader", "", summary(Loader), "", *_table(parameters_of(Loader))]


def _table(settings: list[Setting]) -> list[str]:
    rows = [
        (
            f"`{s.name}`",
            cell(s.kind),
            "required" if s.default is None else f"`{s.default}`",
            cell(s.text),
        )
        for s in settings
    ]
    return table(_HEADS, rows)
