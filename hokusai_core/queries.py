"""What searches ask for, as values."""

import string
from typing import Literal

from pydantic import Field

from hokusai_core.entities import ModelVersion
from hokusai_core.operations import Value

_FOLDED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

ViewType = Literal["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]


class RunQuery(Value):
    """A search for runs, with the fields of MLflow's ``search_runs``.

    ``filter_string`` and ``order_by`` are in MLflow's filter language. ``max_results`` bounds one
    page (MLflow allows 50,000).
    """

    experiment_ids: tuple[str, ...]
    filter_string: str = ""
    order_by: tuple[str, ...] = ()
    view_type: ViewType = "ACTIVE_ONLY"
    max_results: int = Field(default=1000, ge=1, le=50_000)
    page_token: str = ""


class VersionQuery(Value):
    """A search for model versions: of one model (or all, ""), with these tag values, of this run.

    ``folded_tags`` are compared without regard to the case of ASCII letters; all values are data,
    whatever characters they hold. Newest first: by creation time, then by version number, both
    descending.
    """

    name: str = ""
    tags: dict[str, str] = {}
    folded_tags: dict[str, str] = {}
    run_id: str = ""
    max_results: int = Field(default=1000, ge=1, le=10_000)
    page_token: str = ""

    def matches(self, version: ModelVersion) -> bool:
        """Say whether a version is what is searched for."""
        return (
            self.name in ("", version.name)
            and self.run_id in ("", version.run_id)
            and self.tags.items() <= version.tags.items()
            and all(
                key in version.tags and fold(version.tags[key]) == fold(value)
                for key, value in self.folded_tags.items()
            )
        )


class ModelQuery(Value):
    """A search for registered models whose name begins with ``prefix``, in the order of names."""

    prefix: str = ""
    max_results: int = Field(default=100, ge=1, le=1000)
    page_token: str = ""


def fold(text: str) -> str:
    """Write ASCII letters small, and leave all others as they are: the same on every backend."""
    return text.translate(_FOLDED)
