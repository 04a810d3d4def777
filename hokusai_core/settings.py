"""Every ``HOKUSAI_*`` variable, in one place."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from hokusai_core.addresses import hide_credentials, without_credentials
from hokusai_core.environment import EnvironmentModel
from hokusai_core.errors import ConfigurationError
from hokusai_core.header_values import header_value
from hokusai_core.web_addresses import web_address

Delivery = Literal["direct", "queued"]
"""Whether a write goes to the primary while that is well, or always into the journal first."""
Durability = Literal["machine", "process", "relaxed"]
"""What a write into a local file survives once its call has returned."""

MOST_SECONDS = 1_000_000
"""Longest time that can be set, over eleven days. SQLite and PostgreSQL count milliseconds in 32 bits:
of more than 2,147,483 s, SQLite makes no wait at all."""
_LONGEST_RETENTION = 10_000_000_000
"""Over 300 years: nothing waits for it, and it has to be a number all the same."""

Seconds = Annotated[float, Field(le=MOST_SECONDS, allow_inf_nan=False)]
"""A time that something waits for."""

ADDRESSES = frozenset({"mlflow_tracking_uri", "mlflow_registry_uri", "api_endpoint"})
"""Fields whose value may hold a user name and a password, though it is no secret as such."""


class Settings(EnvironmentModel):
    """The settings of one manager or registry: from arguments, else the environment, else defaults.

    Each field is read from ``HOKUSAI_`` and its name in capitals. Times are in seconds, at
    most :data:`MOST_SECONDS` (``retention_seconds`` may be longer). Build one with :meth:`load`,
    which turns what pydantic reports into a :class:`ConfigurationError`.
    """

    environment_prefix: ClassVar[str] = "HOKUSAI_"
    environment_names: ClassVar[dict[str, str]] = {
        "mlflow_tracking_uri": "MLFLOW_TRACKING_URI",
        "mlflow_registry_uri": "MLFLOW_REGISTRY_URI",
    }

    backend: str = ""
    """Name of the primary backend (an entry point in ``hokusai.backends``); "" is ``mlflow``."""
    mock_mode: bool = False
    """Use the mock backend, where ``backend`` names none."""
    fallback: str = ""
    """Where writes wait while the primary is away: a backend with a journal, or ``none``.
    Not set, it is ``sql``, and one warning tells where its packages are missing."""
    auto_sync: bool | Literal["process"] = True
    """Deliver what waits from a background thread of this process; ``process``: in queued delivery,
    from a process of its own, which shares no interpreter with a training loop."""
    database_url: SecretStr | None = None
    """Database of the SQL backend and of the journal: ``postgresql+psycopg://...`` or
    ``sqlite:///...``. Not set, it is a SQLite file in ``data_dir``."""
    data_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("hokusai")))
    """Folder of the embedded journal and of the spool."""
    destination: str = ""
    """Identity of the primary, where its address may change; not set, its address."""
    delivery: Delivery = "direct"
    """``direct``: to the primary while it is well; ``queued``: always into the journal, so that no
    call waits for the primary, and on from there in the background."""
    durability: Durability = "machine"
    """What a returned write into a local file survives: the loss of power, or the end of the process
    by ``kill -9`` (queued metrics are then gathered in a file beside the journal); ``relaxed``: in
    queued delivery, metrics of the last 50 ms may be lost with the process; in direct delivery, as
    ``process``."""
    long_values: Literal["truncate", "error"] = "truncate"
    """What to do with a param or tag value above MLflow's limit."""

    mlflow_tracking_uri: str = ""
    """Read from ``MLFLOW_TRACKING_URI``."""
    mlflow_registry_uri: str = ""
    """Read from ``MLFLOW_REGISTRY_URI``; "" is the tracking server."""
    api_key: SecretStr | None = None
    """Key of the Hokusai endpoint, sent as a bearer token."""
    api_endpoint: str = "https://registry.hokus.ai/api"
    """The Hokusai endpoint; with a key, its ``/mlflow`` is the default tracking server."""
    events_endpoint: str = ""
    """Where the registration of a tokenized model is told to (an address, with or without ``/api``
    at its end), with ``api_key``; "" is nowhere."""

    connect_timeout: Seconds = Field(default=1.0, gt=0)
    """Longest wait for a connection to the primary."""
    request_timeout: Seconds = Field(default=5.0, gt=0)
    """Longest wait for one answer of the primary."""
    write_timeout: Seconds = Field(default=6.0, gt=0)
    """Longest time that one write spends on the primary before it falls back."""
    read_timeout: Seconds = Field(default=30.0, gt=0)
    """Longest time that one read spends on the primary; searches and histories take many requests."""
    attempts: int = Field(default=2, ge=1, le=10)
    """Most attempts of one write within its time."""
    artifact_idle_timeout: Seconds = Field(default=10.0, gt=0)
    """Longest time without progress in the transfer of an artifact."""
    journal_timeout: Seconds = Field(default=2.0, gt=0)
    """Longest wait for the journal's database; libpq connects in no less than 2."""
    late_effect_seconds: Seconds = Field(default=60.0, ge=0)
    """How long after its sending a creation may still take effect: longer than the time-outs of
    the proxies and of the server."""
    lease_seconds: Seconds = Field(default=30.0, gt=0)
    """How long a worker's claim on a stream lasts without a sign of life."""
    circuit_failures: int = Field(default=1, ge=1)
    """Failed writes in a row that open the circuit."""
    circuit_open_seconds: Seconds = Field(default=1.0, gt=0)
    """How long the circuit stays open at first; it doubles with each failed probe."""
    circuit_open_max_seconds: Seconds = Field(default=15.0, gt=0)
    """How long the circuit stays open at most."""
    circuit_jitter_percent: int = Field(default=25, ge=0, le=100)
    """The part of the open time that chance may take away, so that processes do not probe at once."""
    circuit_probe_seconds: Seconds = Field(default=0.0, ge=0)
    """How long a probe may take before another call is let in; 0 is twice the time of a write."""
    sync_threads: int = Field(default=4, ge=1, le=64)
    """Streams that `hokusai sync` has in flight at once."""
    metrics_host: str = "127.0.0.1"
    """Address that `hokusai sync --watch --metrics-port` serves its metrics on."""
    exit_timeout: Seconds = Field(default=3.0, ge=0)
    """Longest time that the end of the process waits to deliver what is left."""
    max_attempts: int = Field(default=10, ge=1)
    """Attempts after which an operation becomes a dead letter that the server fails on each time,
    while it carries out others of the kind."""
    retention_seconds: float = Field(
        default=7 * 24 * 3600.0, ge=0, le=_LONGEST_RETENTION, allow_inf_nan=False
    )
    """How long settled entries stay in the journal."""
    max_queued_artifact_bytes: int = Field(default=4 * 1024**3, ge=0)
    """Largest artifact that may wait in the journal's database."""

    observer_timeout: Seconds = Field(default=10.0, gt=0)
    """After how long a call of an observer counts as hanging."""

    optional_mlflow: str | bool | None = Field(default=None, repr=False)
    """Deprecated: the fallback replaces it."""

    @field_validator("fallback", "backend", "destination", mode="after")
    @classmethod
    def _stripped(cls, value: str) -> str:
        return value.strip()

    @field_validator("api_key", mode="after")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        key = header_value(value.get_secret_value()) if value else ""
        return SecretStr(key) if key else None

    @field_validator("api_endpoint", mode="after")
    @classmethod
    def _web_address(cls, value: str) -> str:
        return web_address(value)

    @field_validator("events_endpoint", mode="after")
    @classmethod
    def _own_address(cls, value: str) -> str:
        if not value.strip():
            return ""
        address = web_address(value)
        if "@" in urlsplit(address).netloc:
            raise ValueError("it holds credentials; give these as HOKUSAI_API_KEY")
        return address

    @model_validator(mode="after")
    def _check_lease(self) -> Self:
        """A worker renews its lease at half time; what is left then has to hold one whole send."""
        longest = max(self.write_timeout, self.artifact_idle_timeout)
        if self.lease_seconds < 2 * longest:
            raise ValueError(
                f"HOKUSAI_LEASE_SECONDS is {self.lease_seconds:g} and has to be at least "
                f"{2 * longest:g}: twice HOKUSAI_WRITE_TIMEOUT ({self.write_timeout:g}) and twice "
                f"HOKUSAI_ARTIFACT_IDLE_TIMEOUT ({self.artifact_idle_timeout:g})"
            )
        return self

    @field_validator("destination", mode="after")
    @classmethod
    def _without_credentials(cls, value: str) -> str:
        # It is stored with each record, and shown.
        return hide_credentials(value)

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        """Show addresses without credentials; secrets hide themselves."""
        for name, value in super().__repr_args__():
            yield name, without_credentials(value) if name in ADDRESSES else value

    @classmethod
    def load(cls, **values: Any) -> Self:
        """Build settings from the given values and the environment.

        Raises:
            ConfigurationError: Naming each variable that is wrong, never its value.

        """
        try:
            settings = cls(**values)
        except ValidationError as cause:
            problems = "; ".join(
                (f"{cls.variable(str(problem['loc'][0]))}: " if problem["loc"] else "")
                + problem["msg"].removeprefix("Value error, ")
                for problem in cause.errors(include_url=False, include_input=False)
            )
            raise ConfigurationError(f"Settings are wrong: {problems}.") from None
        if settings.optional_mlflow is not None:
            warnings.warn(
                "HOKUSAI_OPTIONAL_MLFLOW has no effect any more: without the server, writes wait in "
                "the journal (HOKUSAI_FALLBACK); for tests, set HOKUSAI_BACKEND=mock. Unset it.",
                FutureWarning,  # for those who run a program; shown once, at this very line
                stacklevel=1,
            )
        return settings

    @property
    def primary_name(self) -> str:
        """Name of the primary backend after all defaults."""
        return self.backend or ("mock" if self.mock_mode else "mlflow")
