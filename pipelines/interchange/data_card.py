"""Render data cards: a dataset's page in the docs, and the README of a Hugging Face dataset."""

import inspect
from collections import Counter
from collections.abc import Mapping

from avstore.datasets import registry
from avstore.datasets.spec import DatasetSpec
from avstore.manifests.library import OpenStore

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))


def description(spec: DatasetSpec) -> str:
    """Return the description of a dataset: the docstring of the module that parses it."""
    module = inspect.getmodule(spec.parse)
    return inspect.cleandoc((module.__doc__ if module else None) or spec.title)


def page(spec: DatasetSpec, counts: Mapping[str, Mapping[str, int]] | None = None) -> str:
    """Return the docs page of a dataset in Markdown.

    Args:
        spec: The dataset.
        counts: Per split, the number of clips by status, from `manifest_counts`.
    """
    title, _, body = description(spec).partition("\n\n")
    labels = list(spec.vocabulary())
    categories = Counter(label.category for label in labels if label.category)
    lines = [f"# {spec.title}", "", _joined(title), "", _paragraphs(body), ""]
    lines += ["| | |", "|---|---|", f"| name | `{spec.name}` |", f"| version | {spec.version} |"]
    lines += [f"| licence | {spec.licence} |", f"| homepage | {spec.homepage} |"]
    lines += [f"| classes | {len(labels)} |", f"| clip | {clip_length(spec)} |"]
    lines += [f"| recipe | `{spec.recipe}` |"]
    streams = spec.streams if spec.own_data is None else (spec.name,)
    lines += [f"| task streams | {', '.join(f'`{name}`' for name in streams) or 'none'} |"]
    if spec.label_sets:
        lines += [f"| label sets | {', '.join(f'`{name}`' for name in spec.label_sets)} |"]
    if categories:
        listed = ", ".join(f"{name} {count}" for name, count in categories.most_common())
        lines += [f"| classes a category | {listed} |"]
    lines += ["", "## Build", "", "```", _build(spec), "```", ""]
    if spec.annotation_urls:
        lines += ["Annotation files, fetched with `avstore annotations fetch " + spec.name + "`:"]
        lines += ["", *(f"- {url}" for url in spec.annotation_urls), ""]
    if counts:
        lines += ["## Clips", "", *_table(counts), ""]
    return "\n".join(lines).rstrip() + "\n"


def clip_length(spec: DatasetSpec) -> str:
    """Return the length of a dataset's clips, for people."""
    return f"{spec.clip_seconds:g} s" if spec.clip_seconds else "of any length"


def _build(spec: DatasetSpec) -> str:
    if spec.own_data is not None:
        return f"avstore build {spec.name}"
    if registry.is_own(spec.name):
        return f"make {spec.name}-shards SOURCE=/path/to/videos ANNOTATIONS=/path/to/file[,…]"
    return "avstore build MODULE:NAME --source /path/to/videos --annotations /path/to/file"


def _joined(text: str) -> str:
    return " ".join(text.split())


def _paragraphs(body: str) -> str:
    """Start a new paragraph at each field (`Source:`, `Licence:`) and join wrapped lines."""
    paragraphs: list[str] = []
    for line in body.splitlines():
        head = line.split(":", 1)[0]
        starts = ":" in line and head[:1].isupper() and len(head.split()) <= 2
        if starts or not paragraphs:
            paragraphs.append(f"**{head}:**{line.split(':', 1)[1]}" if starts else line)
        elif not line.strip():
            paragraphs.append("")
        else:
            paragraphs[-1] = f"{paragraphs[-1]} {line.strip()}".strip()
    return "\n\n".join(part for part in paragraphs if part)


def _table(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    statuses = list(dict.fromkeys(status for split in counts.values() for status in split))
    rows = ["| split | " + " | ".join(statuses) + " |", "|---" * (len(statuses) + 1) + "|"]
    rows += [
        f"| {split} | " + " | ".join(str(by_status.get(status, 0)) for status in statuses) + " |"
        for split, by_status in counts.items()
    ]
    return rows


def manifest_counts(store: OpenStore, dataset: str) -> dict[str, dict[str, int]]:
    """Return per split the number of clips: published, stored, rejected, gone and absent."""
    rows = store.query(
        "SELECT c.split, count(DISTINCT c.clip_id) AS published, "
        "count(DISTINCT c.clip_id) FILTER (t.status = 'stored') AS stored, "
        "count(DISTINCT c.clip_id) FILTER (t.status = 'rejected') AS rejected, "
        "count(DISTINCT c.clip_id) FILTER (t.status = 'gone') AS gone, "
        "count(DISTINCT c.clip_id) FILTER (t.status = 'absent') AS absent "
        "FROM clips c LEFT JOIN status t ON t.clip_id = c.clip_id AND t.stage <> 'fetch' "
        "WHERE c.dataset = $dataset GROUP BY c.split ORDER BY c.split",
        {"dataset": dataset},
    ).rows()
    return {row.pop("split"): row for row in rows}


def hugging_face_card(store: OpenStore, spec: DatasetSpec) -> str:
    """Return a README.md with the front matter of Hugging Face: licence, size, files per split."""
    counts = manifest_counts(store, spec.name)
    stored = sum(split["stored"] for split in counts.values())
    size = next((name for most, name in _SIZES if stored < most), "n>1M")
    shards = store.query(
        "SELECT DISTINCT split, regexp_replace(path, '-[0-9]+[.]tar$', '-*.tar') AS files "
        "FROM shards WHERE dataset = $dataset AND sha256 IS NOT NULL ORDER BY ALL",
        {"dataset": spec.name},
    ).rows()
    front = ["---", f'pretty_name: "{spec.title}"', "license: other", "size_categories:"]
    front += [f"- {size}", "tags:", "- webdataset", "- audio-visual", "configs:"]
    front += ["- config_name: default", "  data_files:"]
    for shard in shards:
        front += [f"  - split: {shard['split']}", f"    path: {shard['files']}"]
    return "\n".join([*front, "---", "", page(spec, counts)])
