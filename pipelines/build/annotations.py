"""From a dataset's published annotation files to the manifest's annotation tables."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from avstore.datasets.spec import AnnotationError, Annotations, DatasetSpec
from avstore.manifests.annotation_sets import AnnotationSet, annotation_set, clips_table


def files_sha256(paths: Sequence[Path]) -> str:
    """sha256 over the files' contents, in the order given. Raises AnnotationError if unreadable."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            reason = error.strerror or error
            if path.is_dir():
                reason = "it is a folder; name its files, with commas between them"
            raise AnnotationError(f"annotation file {path} cannot be read: {reason}") from error
    return digest.hexdigest()


def read_published(spec: DatasetSpec, paths: Sequence[Path]) -> AnnotationSet:
    """Parse annotation files into tables; rows that cannot be used are among the errors."""
    sha256 = files_sha256(paths)
    parsed: Annotations = spec.parse(paths)
    clips = parsed.table
    if clips is None:
        clips = clips_table([{"clip_id": clip.clip_id, **asdict(clip)} for clip in parsed.clips])
    facts = {
        "name": spec.name,
        "version": spec.version,
        "annotation_source": ", ".join(map(str, paths)),
        "annotation_sha256": sha256,
        "licence": spec.licence,
    }
    return annotation_set(
        facts,
        clips,
        list(spec.vocabulary()),
        list(parsed.segments),
        list(parsed.bad_rows),
    )
