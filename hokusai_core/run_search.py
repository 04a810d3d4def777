"""Searches of runs: filter, order and limit apply to the primary's runs with what waits laid over."""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hokusai_core import limits
from hokusai_core.entities import Run, SyncState
from hokusai_core.errors import JournalUnavailableError, TransientError
from hokusai_core.identifiers import is_provisional
from hokusai_core.incomplete import warn_of_incomplete
from hokusai_core.journal import EntryState, QueuedOperation
from hokusai_core.operations import CreateExperiment
from hokusai_core.overlay import merge_runs, overlay_run, waiting_runs
from hokusai_core.queries import RunQuery
from hokusai_core.reading import KEPT, WAITING, Sources, any_waiting, operations_of
from hokusai_core.snapshots import RunSnapshots

_RUN_KINDS = ("create_run", "log_batch", "update_run")

_IDS_IN_ONE_FILTER = 100

Placed = tuple[int, QueuedOperation]
"""An entry, behind its place in the journal's order."""


class RunSearch:
    """Searches runs.

    Args:
        sources: Primary and journal.
        snapshots: What this process's handles know of runs that began in health.
    """

    def __init__(self, sources: Sources, snapshots: RunSnapshots) -> None:
        self._sources = sources
        self._snapshots = snapshots

    def search(
        self, query: RunQuery, experiment_name: str, failure: TransientError | None
    ) -> tuple[Run, ...]:
        """Search runs; see :meth:`~hokusai_core.run_reads.RunReader.search_runs`."""
        known = tuple(name for name in query.experiment_ids if not is_provisional(name))
        # Before the primary is asked: what is delivered in between shows in both, and in none otherwise.
        waiting = self._entries(WAITING)
        found: tuple[Run, ...] = ()
        merging = False
        if failure is None and known:
            try:
                found, merging = self._of_primary(
                    query.model_copy(update={"experiment_ids": known}), waiting
                )
            except TransientError as reason:
                failure = reason
        if failure is not None and self._sources.fallback is None:
            raise failure
        entries = waiting if known and failure is None else self._entries(KEPT)
        operations = operations_of(entries)
        wanted = set(query.experiment_ids) | {
            operation.provisional_id or ""
            for operation in operations
            if isinstance(operation, CreateExperiment) and operation.name == experiment_name
        }
        by_stream = _by_stream(entries)
        handled = self._of_handles(wanted, by_stream) if failure else {}
        begun = [
            self._begun_here(run, by_stream)
            for run in waiting_runs(operations)
            if run.info.experiment_id in wanted and run.info.run_id not in handled
        ]
        overlaid = [self._overlaid(run, by_stream) for run in found]
        if failure is not None:
            warn_of_incomplete("runs", self._sources.destination)
        if not (begun or handled or merging):
            return tuple(overlaid)
        everywhere = query.model_copy(update={"experiment_ids": tuple(wanted)})
        return merge_runs((*handled.values(), *overlaid), begun, everywhere)

    def _entries(self, states: tuple[EntryState, ...]) -> tuple[QueuedOperation, ...]:
        return self._sources.entries(kinds=(*_RUN_KINDS, "create_experiment"), states=states)

    def _of_primary(
        self, query: RunQuery, waiting: Sequence[QueuedOperation]
    ) -> tuple[tuple[Run, ...], bool]:
        """Give the primary's runs that match, and those whose waiting writes may make them match.

        Returns:
            The runs, and whether filter and order have to be applied to them again.
        """
        written = self._written_later(waiting)
        if not written or not (query.filter_string or query.order_by):
            # What waits changes neither which runs these are nor the order of their beginnings.
            return self._pages(query), False
        written_runs = {run.info.run_id: run for run in self._runs_of(written, query)}
        if not written_runs:
            return self._pages(query), False
        # As many as may fall out again, when what waits is laid over them.
        most = min(query.max_results + len(written_runs), limits.SEARCH_RESULTS)
        found = self._pages(query.model_copy(update={"max_results": most}))
        return tuple(({run.info.run_id: run for run in found} | written_runs).values()), True

    def _written_later(self, waiting: Sequence[QueuedOperation]) -> tuple[str, ...]:
        """Give the primary's ids of runs that it has, for which something waits."""
        prefix = "run/"
        names = {
            entry.stream.removeprefix(prefix)
            for entry in waiting
            if entry.stream.startswith(prefix)
        }
        names -= {
            entry.stream.removeprefix(prefix) for entry in waiting if entry.kind == "create_run"
        }
        ids, fallback = self._sources.ids, self._sources.fallback
        provisional = tuple(sorted(name for name in names if is_provisional(name)))
        primary = {name for name in names if not is_provisional(name)}
        if fallback is not None and provisional:
            for name, primary_id in fallback.resolve(provisional).items():
                ids.learn(name, primary_id)
        if fallback is not None and primary:
            with contextlib.suppress(JournalUnavailableError):
                for primary_id, name in fallback.aliases(tuple(sorted(primary))).items():
                    ids.learn(name, primary_id)
        primary |= {found for name in provisional if (found := self._sources.names(name)[0])}
        return tuple(sorted(primary))

    def _runs_of(self, run_ids: Sequence[str], query: RunQuery) -> Iterable[Run]:
        """Get those runs of a search's experiments that have these ids, whatever their stage."""
        for begin in range(0, len(run_ids), _IDS_IN_ONE_FILTER):
            some = run_ids[begin : begin + _IDS_IN_ONE_FILTER]
            quoted = ", ".join(f"'{run_id}'" for run_id in some)
            yield from self._pages(
                RunQuery(
                    experiment_ids=query.experiment_ids,
                    filter_string=f"attributes.run_id IN ({quoted})",
                    view_type="ALL",
                    max_results=len(some),
                )
            )

    def _pages(self, query: RunQuery) -> tuple[Run, ...]:
        found: list[Run] = []
        page_query = query
        deadline = self._sources.deadline()
        while True:
            page = self._sources.ask(
                lambda backend: backend.tracking.tracking_search_runs(
                    page_query,  # noqa: B023 - called at once
                    deadline,
                )
            )
            found.extend(page.items)
            if not page.next_page_token or len(found) >= query.max_results:
                return tuple(found[: query.max_results])
            page_query = query.model_copy(update={"page_token": page.next_page_token})

    def _of_handles(
        self, experiments: set[str], by_stream: Mapping[str, Sequence[Placed]]
    ) -> dict[str, Run]:
        """Give the runs that the primary has, and that have a handle in this process."""
        found: dict[str, Run] = {}
        for run in self._snapshots.all():
            own = self._own_entries(run, by_stream)
            if run.info.experiment_id in experiments and not _creation_waits(own):
                changes = {"source": "fallback", "complete": False}
                found[run.info.run_id] = self._overlaid(run, by_stream).model_copy(update=changes)
        return found

    def _overlaid(self, run: Run, by_stream: Mapping[str, Sequence[Placed]]) -> Run:
        own = self._own_entries(run, by_stream)
        if not own:
            return run
        laid = overlay_run(run, operations_of(own), self._ids_of(run))
        return laid if any_waiting(own) else laid.model_copy(update={"sync_state": run.sync_state})

    def _begun_here(self, run: Run, by_stream: Mapping[str, Sequence[Placed]]) -> Run:
        own = self._own_entries(run, by_stream)
        state: SyncState = "pending" if any_waiting(own) else "delivered"
        if any(entry.state == "dead" and entry.kind == "create_run" for entry in own):
            state = "dead"
        # Once the creation was delivered, later writes may have gone to the primary directly.
        changes = {"sync_state": state, "complete": _creation_waits(own)}
        return run.model_copy(update=changes)

    def _own_entries(
        self, run: Run, by_stream: Mapping[str, Sequence[Placed]]
    ) -> list[QueuedOperation]:
        own = [each for name in self._ids_of(run) for each in by_stream.get(f"run/{name}", ())]
        return [entry for _, entry in sorted(own, key=lambda placed: placed[0])]

    def _ids_of(self, run: Run) -> frozenset[str]:
        provisional = self._sources.ids.provisional_id(run.info.run_id)
        return frozenset(filter(None, (run.info.run_id, provisional)))


def _by_stream(entries: Iterable[QueuedOperation]) -> dict[str, list[Placed]]:
    found: dict[str, list[Placed]] = defaultdict(list)
    for placed in enumerate(entries):
        found[placed[1].stream].append(placed)
    return found


def _creation_waits(entries: Iterable[QueuedOperation]) -> bool:
    return any(entry.kind == "create_run" and entry.state == "waiting" for entry in entries)
