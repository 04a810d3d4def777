"""``hokusai sync``: delivers all, or says what is in the way."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import Result

from hokusai_core import ExperimentManager, Settings
from hokusai_core.operations import LogBatch
from hokusai_core.sync_progress import SyncProgress
from tests.cli.conftest import REFUSED_URL, Outage
from tests.support import session
from tests.support.waiting import wait_for

Run = Callable[..., Result]
RunJson = Callable[..., tuple[int, Any]]


def waiting(outage: Outage) -> int:
    assert outage.runtime.fallback is not None
    backlog, _ = outage.runtime.fallback.backlog(outage.runtime.destination)
    assert backlog is not None
    return backlog.by_destination.get(outage.runtime.destination, 0)


def test_everything_is_delivered(run_json: RunJson, outage: Outage) -> None:
    run_id = outage.log_run("delivered")
    expected = waiting(outage)
    outage.end()
    code, report = run_json("sync", "--tracking-uri", outage.proxy.url)
    assert code == 0
    assert report["complete"] is True
    assert (report["delivered"], report["dead"], report["left"]) == (expected, 0, 0)
    assert waiting(outage) == 0
    assert outage.manager.get_run(run_id).data.metrics["loss"] == pytest.approx(0.2)
    assert len(outage.manager.get_metric_history(run_id, "loss")) == 5

    code, report = run_json("sync", "--tracking-uri", outage.proxy.url)
    assert (code, report["delivered"], report["left"]) == (0, 0, 0)


def test_nothing_waits_in_a_new_journal(run_command: Run) -> None:
    result = run_command("sync", "--backend", "sql")
    assert result.exit_code == 0
    assert "Delivered 0 operations; 0 left." in result.stdout


def test_a_server_that_is_away_is_told_with_every_stream(
    run_command: Run, refused: ExperimentManager
) -> None:
    run = refused.start_run(run_name="waits")
    run.end()
    result = run_command("sync", "--wait", "0", "--tracking-uri", REFUSED_URL)
    assert result.exit_code == 1
    assert "Delivered 0 operations" in result.stdout
    assert "experiment/refused: " in result.stdout
    assert f"run/{run.run_id}: " in result.stdout


def test_the_wait_ends_in_time(run_command: Run, refused: ExperimentManager) -> None:
    refused.start_run(run_name="waits").end()
    began = time.monotonic()
    result = run_command("sync", "--wait", "2", "--tracking-uri", REFUSED_URL)
    assert time.monotonic() - began < 40
    assert result.exit_code == 1


def test_a_creation_that_may_have_been_applied_is_waited_for(
    run_command: Run, outage: Outage, tmp_path: Path
) -> None:
    outage.end()
    manager = ExperimentManager(
        f"ambiguous {tmp_path.name}",
        mlflow_tracking_uri=outage.proxy.url,
        settings=Settings.load(auto_sync=False, late_effect_seconds=5.0),
    )
    manager.start_run(run_name="creates the experiment").end()
    outage.proxy.mode = "drop_answer"
    manager.start_run(run_name="ambiguous").end()
    outage.end()
    result = run_command("sync", "--tracking-uri", outage.proxy.url)
    assert result.exit_code == 0
    assert "the server may have created it" in result.stderr
    assert len(manager.search_runs()) == 2


def test_a_terminal_gets_a_bar(outage: Outage) -> None:
    outage.log_run("with a bar")
    outage.end()
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with SyncProgress(console, outage.runtime) as progress:
        report = outage.runtime.drain().run(
            wait_seconds=30, stop=threading.Event(), on_progress=progress
        )
    assert report.complete
    assert f"{report.delivered}/{report.delivered}" in screen.getvalue()


def test_the_backlog_of_other_destinations_is_left_and_named(
    run_command: Run, run_json: RunJson, refused: ExperimentManager
) -> None:
    refused.start_run(run_name="elsewhere").end()
    code, report = run_json("sync", "--backend", "sql")
    assert code == 0
    assert report["others"][refused.runtime.destination] > 0
    text = run_command("sync", "--backend", "sql").stdout
    assert f" for {refused.runtime.destination}" in text


def test_what_is_refused_for_good_is_no_success(run_json: RunJson, outage: Outage) -> None:
    outage.end()
    run = outage.manager.start_run(run_name="changes its mind")
    run.log_param("lr", 0.1)
    outage.begin()
    outage.runtime.router.write(LogBatch(run_id=run.run_id, params={"lr": "0.2"}))
    run.end()
    outage.end()
    code, report = run_json("sync", "--tracking-uri", outage.proxy.url)
    assert code == 1
    assert (report["dead"], report["left"]) == (1, 0)


def test_without_a_fallback_there_is_nothing_to_sync(
    run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOKUSAI_FALLBACK", "none")
    result = run_command("sync", "--backend", "sql")
    assert result.exit_code == 2
    assert "HOKUSAI_FALLBACK=none" in result.stderr
    assert "Traceback" not in result.output


def test_a_journal_that_is_away_is_one_line(
    run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOKUSAI_DATABASE_URL", "postgresql+psycopg://a:hidden@127.0.0.1:1/hokusai")
    result = run_command("sync", "--tracking-uri", REFUSED_URL)
    assert result.exit_code == 2
    assert result.stderr.startswith("hokusai: ")
    assert "hidden" not in result.output


@pytest.mark.parametrize("more", [(), ("--json",), ("--metrics-port", "0")])
def test_a_watch_goes_on_when_its_log_cannot_be_written(
    outage: Outage, more: tuple[str, ...]
) -> None:
    outage.log_run("watched")
    outage.end()
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen(
            [sys.executable, "-m", "hokusai_core", "sync", "--watch", *more],
            env=os.environ | {"MLFLOW_TRACKING_URI": outage.proxy.url},
            stdout=full,
            stderr=full,
        ) as process,
    ):
        try:
            assert wait_for(lambda: process.poll() is not None or not waiting(outage), 90)
            outage.begin()
            outage.log_run("later")
            assert waiting(outage)
            outage.end()
            assert wait_for(lambda: process.poll() is not None or not waiting(outage), 90)
            assert process.poll() is None
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_a_result_that_cannot_be_written_is_no_success(refused: ExperimentManager) -> None:
    refused.start_run(run_name="waits").end()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hokusai_core", "sync", "--backend", "sql"],
            stdout=full,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=90,
        )
    assert done.returncode not in (0, 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_watch_delivers_and_ends_in_good_order(outage: Outage, number: signal.Signals) -> None:
    outage.log_run("watched")
    outage.end()
    with session.Program(
        *("-m", "hokusai_core", "sync", "--watch"),
        environment=os.environ | {"MLFLOW_TRACKING_URI": outage.proxy.url},
    ) as process:
        until = time.monotonic() + 90
        while waiting(outage) and time.monotonic() < until:
            assert process.poll() is None
            time.sleep(0.1)
        assert waiting(outage) == 0
        process.send_signal(number)
        _, printed = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "0 left" in printed
    assert "Traceback" not in printed
