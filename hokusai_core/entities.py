"""What reads return. Field names follow MLflow's own entities."""

from typing import Generic, Literal, TypeVar

from hokusai_core.operations import MetricPoint, Value

__all__ = [
    "BackendHealth",
    "Experiment",
    "FileInfo",
    "LoggedModel",
    "Metric",
    "ModelVersion",
    "Page",
    "Receipt",
    "RegisteredModel",
    "Run",
    "RunData",
    "RunInfo",
    "Source",
    "SyncState",
]

Metric = MetricPoint
"""One measured value, as it was logged."""

Source = Literal["primary", "fallback", "merged"]
"""Where an answer comes from: the primary, the journal, or both laid over each other."""

SyncState = Literal["delivered", "pending", "dead"]
"""Whether a record is on the primary, waits in a journal, or was refused for good."""

T = TypeVar("T")

LifecycleStage = Literal["active", "deleted"]


class Receipt(Value):
    """What a write hook returns.

    ``primary_id`` is the id of what a creation made or found ("" for other writes); for a model
    version it is the version number. ``created`` is False where the creation found it there.
    """

    primary_id: str = ""
    created: bool = True


class Experiment(Value):
    """A named group of runs."""

    experiment_id: str
    name: str
    artifact_location: str = ""
    lifecycle_stage: LifecycleStage = "active"
    tags: dict[str, str] = {}
    creation_time: int | None = None


class RunInfo(Value):
    """What a run is; times are in milliseconds since 1970."""

    run_id: str
    experiment_id: str
    run_name: str = ""
    status: str = "RUNNING"
    start_time: int | None = None
    end_time: int | None = None
    lifecycle_stage: LifecycleStage = "active"
    artifact_uri: str = ""
    user_id: str = ""


class RunData(Value):
    """What was logged: the latest value of each metric, the params and the tags."""

    metrics: dict[str, float] = {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}


class Run(Value):
    """A run as it is known now.

    ``sync_state`` is ``pending`` while anything of it waits in a journal. ``complete`` is False
    where earlier data are known to be only on a primary that is away.
    """

    info: RunInfo
    data: RunData = RunData()
    latest_metrics: tuple[MetricPoint, ...] = ()
    """The points that ``data.metrics`` shows, with their steps and times."""
    source: Source = "primary"
    sync_state: SyncState = "delivered"
    complete: bool = True


class FileInfo(Value):
    """One entry of an artifact listing; ``file_size`` in bytes, None for a folder."""

    path: str
    is_dir: bool
    file_size: int | None = None


class LoggedModel(Value):
    """A model that a run logged, with files of its own (an MLflow 3 ``LoggedModel``)."""

    model_id: str
    experiment_id: str
    name: str
    source_run_id: str = ""
    status: Literal["PENDING", "READY", "FAILED"] = "PENDING"
    tags: dict[str, str] = {}
    creation_timestamp: int | None = None
    artifact_location: str = ""


class RegisteredModel(Value):
    """A named series of versions; ``aliases`` map an alias to a version."""

    name: str
    description: str = ""
    tags: dict[str, str] = {}
    aliases: dict[str, str] = {}
    creation_timestamp: int | None = None


class ModelVersion(Value):
    """One version of a registered model.

    ``version`` is the primary's number, or a provisional id while ``sync_state`` is ``pending``.
    ``stage`` is what MLflow had before aliases (``Production``, ...), "" for none.
    """

    name: str
    version: str
    source_uri: str = ""
    run_id: str | None = None
    model_id: str | None = None
    description: str = ""
    tags: dict[str, str] = {}
    aliases: tuple[str, ...] = ()
    stage: str = ""
    creation_timestamp: int | None = None
    status: str = "READY"
    source: Source = "primary"
    sync_state: SyncState = "delivered"


class Page(Value, Generic[T]):
    """One page of a search: its items, and the token of the next page ("" on the last)."""

    items: tuple[T, ...]
    next_page_token: str = ""


class BackendHealth(Value):
    """The answer to a health check.

    ``description`` says what answered, ``version`` its version ("" where it tells none), and ``note``
    what a person should know of it though it is well: a sentence, "" for nothing.
    """

    description: str
    version: str = ""
    note: str = ""
