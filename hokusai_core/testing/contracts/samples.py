"""Values that the contracts write: names that are used once, and texts that are hard to store."""

import hashlib
import io
import uuid

from hokusai_core.clock import Deadline
from hokusai_core.hookspecs import OpenContent
from hokusai_core.operations import ArtifactOwner, CreateRun, LogArtifact

NASTY_TEXTS = (
    "it's",
    'say "hi"',
    "both ' and \"",
    "100%_\\ back",
    "naïve 模型 🚀",
    "two\nlines\tand a tab",
    "  spaces  ",
    "",
)
"""Texts that a store has to give back as they were."""


def deadline() -> Deadline:
    """Make a deadline that no healthy backend misses."""
    return Deadline(60.0)


def unique(prefix: str) -> str:
    """Make a name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def new_run(
    experiment_id: str, *, start_time: int = 1_700_000_000_000, tags: dict[str, str] | None = None
) -> CreateRun:
    """Make the creation of a run."""
    return CreateRun(
        experiment_id=experiment_id, run_name=unique("run"), start_time=start_time, tags=tags or {}
    )


def file_of(
    run_id: str, path: str, content: bytes, owner: ArtifactOwner | None = None
) -> tuple[LogArtifact, OpenContent]:
    """Make the storing of one file of a run (or of its logged model), with its bytes."""
    operation = LogArtifact(
        run_id=run_id,
        owner=owner or ArtifactOwner(kind="run", id=run_id),
        path=path,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return operation, lambda: io.BytesIO(content)
