"""Examines a set-up: settings, backends, credentials, folders, databases, servers, backlog."""

import difflib
import os
from collections.abc import Iterator

from hokusai_core.backends import find_backend, installed_backends
from hokusai_core.errors import ConfigurationError, HokusaiError
from hokusai_core.experiments import ExperimentManager
from hokusai_core.fallback_examination import examined
from hokusai_core.findings import Diagnosis, Finding
from hokusai_core.resolution import select_backends, settings_with, sort_arguments
from hokusai_core.selected_plugins import NO_FALLBACK, backend_config, journal_plugin
from hokusai_core.settings import Settings
from hokusai_core.status import Status, counted, status

EXPERIMENT = "hokusai_doctor"
"""Experiment of the runs that a trial of writing leaves behind."""


def doctor(
    settings: Settings | None = None,
    *,
    tracking_uri: str | None = None,
    backend: object = None,
    write: bool = False,
) -> Diagnosis:
    """Examine a set-up, and say of each thing whether it works and what to do.

    Raises nothing that a set-up may cause: what is wrong is a finding. Bounded in time like
    :func:`~hokusai_core.status.status`.

    Args:
        settings: All settings; not given, they are read from the environment.
        tracking_uri: Address of the tracking server; not given, settings decide.
        backend: Name of the backend, its plugin, or a mock backend; not given, settings decide.
        write: Try a run with a metric and a small artifact, too. It stays on the primary, in the
            experiment ``hokusai_doctor``. Credentials that may only read are found in no other way.
    """
    return Diagnosis(findings=tuple(_findings(settings, tracking_uri, backend, write=write)))


def _findings(
    given: Settings | None, tracking_uri: str | None, backend: object, *, write: bool
) -> Iterator[Finding]:
    try:
        settings = settings_with(given)
        uri = sort_arguments(None, tracking_uri, None, None).tracking_uri
        selection = select_backends(settings=settings, tracking_uri=uri, backend=backend)
    except ConfigurationError as failure:
        yield _failed("settings", failure)
        return
    yield from _settings(settings)
    yield from _broken_backends()
    try:
        primary = find_backend(selection.plugin or selection.backend)
        journal = journal_plugin(selection, primary)
    except ConfigurationError as failure:
        yield _failed("backends", failure)
        return
    kept = f"records wait in {journal.name}" if journal else "there is no fallback"
    yield Finding(
        name="backends", state="ok", text=f"records go to {primary.name}; in an outage {kept}"
    )
    yield from examined(primary, backend_config(selection, "primary"))
    if journal:
        config = backend_config(selection, "journal")
        yield from examined(journal, config)
        if journal.needs_spool(config):
            yield from examined(journal, backend_config(selection, "spool"))
    try:
        # Looking delivers nothing.
        found = status(
            settings.model_copy(update={"auto_sync": False}), tracking_uri=uri, backend=backend
        )
    except HokusaiError as failure:
        yield _failed("server", failure)
        return
    yield _server(found)
    yield from _journal(found)
    if write and found.reachable:
        yield from _trial(settings, uri, backend)


def _settings(settings: Settings) -> Iterator[Finding]:
    known = {Settings.variable(field) for field in Settings.model_fields}
    by_ending = {name.partition("_")[2]: name for name in known}
    there = sorted(name for name in os.environ if name in known)
    yield Finding(
        name="settings",
        state="ok",
        text=f"set in the environment: {', '.join(there)}" if there else "all defaults",
    )
    for name in sorted(os.environ):
        if name.startswith(Settings.environment_prefix) and name not in known:
            similar = difflib.get_close_matches(
                name.removeprefix(Settings.environment_prefix), by_ending, n=1
            )
            yield Finding(
                name="settings",
                state="warning",
                text=f"{name} is no setting, so it has no effect.",
                advice=f"Did you mean {by_ending[similar[0]]}?" if similar else "Unset it.",
            )
    if not settings.auto_sync:
        yield Finding(
            name="settings",
            state="warning",
            text="jobs do not deliver by themselves what waited (HOKUSAI_AUTO_SYNC=false).",
            advice="Let `hokusai sync --watch` run somewhere, or unset it.",
        )


def _broken_backends() -> Iterator[Finding]:
    for plugin in installed_backends():
        if plugin.state.startswith("broken"):
            yield Finding(name="backends", state="warning", text=f"{plugin.name}: {plugin.state}")


def _server(found: Status) -> Finding:
    where = f"{found.backend} at {found.destination}"
    if found.reachable:
        version = f", version {found.version}" if found.version else ""
        return Finding(
            name="server", state="ok", text=f"{where} answers in {found.latency_ms:g} ms{version}"
        )
    verb = "refuses" if found.refused else "does not answer"
    return Finding(
        name="server",
        state="failed",
        text=f"{where} {verb}: {found.unreachable_because}",
        advice="" if found.refused else "Check that it runs, and its address and port.",
    )


def _journal(found: Status) -> Iterator[Finding]:
    if found.journal_reachable is None:
        yield Finding(
            name="journal",
            state="warning",
            text="none, so an outage raises errors in jobs.",
            advice=f"Unset HOKUSAI_FALLBACK={NO_FALLBACK}, or install hokusai-tracking[sql].",
        )
        return
    if found.journal_reachable:
        yield Finding(name="journal", state="ok", text=f"{found.journal} answers")
    else:
        yield Finding(name="journal", state="failed", text=found.journal_unreachable_because)
    if found.spool_unreachable_because:
        yield Finding(name="spool", state="failed", text=found.spool_unreachable_because)
    if waiting := (found.waiting or 0) + (found.spool_waiting or 0):
        yield Finding(
            name="backlog",
            state="warning",
            text=f"{counted(waiting, 'operation')} not delivered yet.",
            advice="`hokusai sync` delivers now, and says what is in the way.",
        )
    if found.dead:
        yield Finding(
            name="backlog",
            state="warning",
            text=f"{counted(found.dead, 'dead letter')}: refused for good, and kept.",
            advice="`hokusai queue list` gives the reasons.",
        )
    if found.waiting == found.spool_waiting == found.dead == 0:
        yield Finding(name="backlog", state="ok", text="nothing waits, nothing was refused")


def _trial(settings: Settings, uri: str | None, backend: object) -> Iterator[Finding]:
    """Write without a fallback, so that a failure shows at once."""
    name = "write"
    try:
        manager = ExperimentManager(
            experiment_name=EXPERIMENT,
            mlflow_tracking_uri=uri,
            backend=backend,
            settings=settings.model_copy(
                update={"fallback": NO_FALLBACK, "delivery": "direct", "auto_sync": False}
            ),
        )
        with manager.start_run(run_name="hokusai doctor") as run:
            run.log_metric("doctor", 1.0)
            yield Finding(name=name, state="ok", text=f"run {run.run_id} in {EXPERIMENT}")
            name = "artifacts"
            run.log_text("written by hokusai doctor\n", "doctor.txt")
        yield Finding(name=name, state="ok", text=f"doctor.txt in run {run.run_id}")
        manager.runtime.close_connections()
    except HokusaiError as failure:
        yield _failed(name, failure)


def _failed(name: str, failure: HokusaiError) -> Finding:
    return Finding(name=name, state="failed", text=str(failure))
