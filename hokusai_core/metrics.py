"""Figures of a delivering process for Prometheus; needs the extra ``metrics``."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, get_args

from hokusai_core.circuit_breaker import CircuitState
from hokusai_core.draining import DrainReport
from hokusai_core.errors import BackendNotInstalledError, ConfigurationError, PermanentError
from hokusai_core.operations import Operation
from hokusai_core.runtime import Runtime

if TYPE_CHECKING:
    from prometheus_client import Metric

try:
    from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as cause:
    raise BackendNotInstalledError(
        "Metrics need prometheus-client, which is not installed. Run: pip install "
        "'hokusai-tracking[metrics]', or leave --metrics-port out."
    ) from cause

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LABEL = "destination"


class SyncMetrics:
    """Counts what a process delivers, and looks at the backlog whenever it is asked.

    All names are in a registry of its own, never in prometheus-client's global one. Each figure
    carries the label ``destination``.

    Args:
        runtime: Whose deliveries; its primary's calls are watched from now on.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.registry = CollectorRegistry()
        self.destination = runtime.destination
        self._delivered = self._counter(
            "hokusai_delivered_operations", "Operations that this process delivered."
        )
        self._refused = self._counter(
            "hokusai_refused_operations", "Operations that became dead letters in this process."
        )
        self._retried = self._counter(
            "hokusai_failed_attempts", "Calls of this process that failed and are made again."
        )
        self._calls = Histogram(
            "hokusai_call_duration_seconds",
            "Duration of calls that write to the primary.",
            (_LABEL, "kind", "outcome"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Figures(runtime))
        runtime.primary.get().on_write = self._called

    def count(self, report: DrainReport) -> None:
        """Add what one round of delivery came to."""
        self._delivered.labels(self.destination).inc(report.delivered)
        self._refused.labels(self.destination).inc(report.dead)

    def serve(self, host: str, port: int) -> int:
        """Answer ``GET /metrics`` from a thread for as long as the process lives.

        Args:
            host: Address to listen on.
            port: Port; 0 for a free one.

        Returns:
            The port.

        Raises:
            ConfigurationError: The address cannot be listened on.
        """
        try:
            server, _ = start_http_server(port, host, self.registry)
        except (OSError, OverflowError, UnicodeError) as cause:
            # A name with a part that is empty or above 63 characters is not even looked up.
            unusable = "not a host name" if isinstance(cause, UnicodeError) else ""
            reason = unusable or getattr(cause, "strerror", None) or str(cause)
            raise ConfigurationError(
                f"Metrics cannot be served on {host}:{port}: {reason}. Choose another "
                "--metrics-port, or another address (HOKUSAI_METRICS_HOST)."
            ) from cause
        return int(server.server_port)

    def _counter(self, name: str, help_text: str) -> Counter:
        counter = Counter(name, help_text, (_LABEL,), registry=self.registry)
        counter.labels(self.destination)
        return counter

    def _called(self, operation: Operation, seconds: float, failure: BaseException | None) -> None:
        if failure is None:
            outcome = "done"
        elif isinstance(failure, PermanentError):
            outcome = "refused"
        else:
            outcome = "failed"
            self._retried.labels(self.destination).inc()
        self._calls.labels(self.destination, operation.kind, outcome).observe(seconds)


class _Figures(Collector):
    """What is looked up at each scrape: backlog and circuits."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def collect(self) -> Iterable["Metric"]:
        yield from self._backlog()
        circuits = GaugeMetricFamily(
            "hokusai_circuit_state",
            "1 for the state that a circuit of this process is in, 0 for the others.",
            labels=(_LABEL, "circuit", "state"),
        )
        breakers = self._runtime.circuits
        for name, breaker in (("primary", breakers.primary), ("artifacts", breakers.artifacts)):
            now = breaker.state
            for state in get_args(CircuitState):
                labels = (self._runtime.destination, name, state)
                circuits.add_metric(labels, 1.0 if state == now else 0.0)
        yield circuits

    def _backlog(self) -> Iterator["Metric"]:
        runtime = self._runtime
        up = self._gauge("hokusai_journal_up", "1 where the journal (or spool) answers, else 0.")
        waiting = self._gauge("hokusai_backlog_operations", "Operations that wait.")
        oldest = self._gauge(
            "hokusai_backlog_oldest_seconds", "Age of the oldest operation that waits; 0 for none."
        )
        dead = self._gauge(
            "hokusai_dead_letters", "Dead letters in the journal, of all destinations."
        )
        if fallback := runtime.fallback:
            both = fallback.backlog(runtime.destination)
            places = ("journal", "spool") if fallback.spool else ("journal",)
            for place, figures in zip(places, both, strict=False):
                labels = (runtime.destination, place)
                up.add_metric(labels, 0.0 if figures is None else 1.0)
                if figures is None:
                    continue  # a figure that is not known is left out
                waiting.add_metric(labels, figures.by_destination.get(runtime.destination, 0))
                since = figures.oldest_of(runtime.destination)
                oldest.add_metric(labels, 0.0 if since is None else max(0.0, figures.now - since))
                dead.add_metric(labels, figures.dead)
        yield from (up, waiting, oldest, dead)

    def _gauge(self, name: str, help_text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, help_text, labels=(_LABEL, "place"))
