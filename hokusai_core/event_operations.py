"""The one operation that goes to another place than the primary: the event of a registration."""

import hashlib
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from hokusai_core.operation_base import Operation, Specification

STREAM_PREFIX = "event/"
"""What the streams of these operations begin with."""

_OPTIONAL_FIELDS = ("api_schema", "eval_spec", "scorer_ref", "primary_metric", "benchmark_spec_id")


def event_id(creation: str) -> str:
    """Give the ``op_id`` of the event of a registration, always the same for one registration.

    Args:
        creation: The ``op_id`` of the version's creation; for a version without one, its name and
            number.
    """
    return hashlib.sha256(f"registration event of {creation}".encode()).hexdigest()[:32]


class AnnounceRegistration(Operation):
    """Tell the Hokusai endpoint that a tokenized model has been registered.

    It waits until the primary has the version, and goes out with the version's real number. Its
    ``op_id`` (see :func:`event_id`) is sent as ``Idempotency-Key``, so a repeat is harmless.
    ``name`` and ``version`` are the registered model's and the version's, the latter by its
    provisional id while there is no other.
    """

    specification: ClassVar[Specification] = "events"
    reference_fields: ClassVar[tuple[str, ...]] = ("version", "mlflow_run_id")

    kind: Literal["announce_registration"] = "announce_registration"
    name: str
    version: str
    token_id: str
    proposal_identifier: str
    metric_name: str
    baseline_value: float = Field(allow_inf_nan=False)
    mlflow_run_id: str | None = None
    tags: dict[str, str] = {}
    api_schema: dict[str, JsonValue] | None = None
    eval_spec: str | None = None
    scorer_ref: str | None = None
    primary_metric: str | None = None
    benchmark_spec_id: str | None = None

    @property
    def stream(self) -> str:
        """A stream of its own: no event holds up another."""
        return f"{STREAM_PREFIX}{self.op_id}"

    @property
    def reference_tags(self) -> dict[str, str]:
        """The tags among which one may name the run."""
        return self.tags

    @property
    def payload(self) -> dict[str, Any]:
        """The body of the request; optional fields only where they were given."""
        body: dict[str, Any] = {
            "model_name": self.name,
            "version": self.version,
            "token_id": self.token_id,
            "proposal_identifier": self.proposal_identifier,
            "metric_name": self.metric_name,
            "baseline_value": self.baseline_value,
            "mlflow_run_id": self.mlflow_run_id,
            "model_uri": f"models:/{self.name}/{self.version}",
            "tags": self.tags,
        }
        given = {name: getattr(self, name) for name in _OPTIONAL_FIELDS}
        return body | {name: value for name, value in given.items() if value is not None}
