"""What commands print of others' texts acts on no terminal, and can be written in every encoding."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from rich.text import Text
from typer.testing import Result

from hokusai_core import ExperimentManager, ModelRegistry, Settings
from hokusai_core.cli.output import cell, console, table
from hokusai_core.errors import UnavailableError
from hokusai_core.outages import OutageReporter
from tests.cli.conftest import REFUSED_URL
from tests.support.stub_server import Answer, StubServer

Run = Callable[..., Result]

ACTS = "\x1b]0;title\x1b\\ \x1b[2J \x9b31m \u202etxt"
FORGED = f"{ACTS}\nHealthy.\nhokusai: all is well"
ACTING = tuple("\x1b\x9b\u202e")
SHOWN = r"\x1b]0;title\x1b\ \x1b[2J \x9b31m \u202etxt"


def check(result: Result) -> None:
    """See that nothing of the text acted, that it was shown, and that it began no line."""
    assert not [character for character in ACTING if character in result.output]
    assert SHOWN in result.output
    lines = [line.strip() for line in result.output.splitlines()]
    assert "Healthy." not in lines
    assert not [line for line in lines if line.startswith("hokusai: all")]


def test_names_act_on_no_terminal(run_command: Run) -> None:
    manager = ExperimentManager(
        f"name {ACTS}", mlflow_tracking_uri=REFUSED_URL, settings=Settings.load(auto_sync=False)
    )
    manager.start_run(run_name="waits").end()
    manager.runtime.close_connections()
    where = ("--tracking-uri", REFUSED_URL)
    check(run_command("status", *where))
    check(run_command("sync", "--wait", "0", *where))
    check(run_command("queue", "list", "--waiting", *where))
    entries = json.loads(run_command("queue", "list", "--waiting", "--json", *where).stdout)
    (creation,) = (entry for entry in entries if entry["kind"] == "create_experiment")
    assert creation["stream"] == f"experiment/name {ACTS}"
    check(run_command("queue", "show", creation["op_id"], *where))


def test_messages_of_servers_act_on_no_terminal(
    run_command: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOKUSAI_BACKEND", "sql")
    monkeypatch.setenv("HOKUSAI_AUTO_SYNC", "false")
    refusal = Answer(422, FORGED.encode())
    with StubServer(refusal) as endpoint:
        monkeypatch.setenv("HOKUSAI_EVENTS_ENDPOINT", endpoint.url)
        ModelRegistry().register_tokenized_model(
            "s3://b/m", "scoring", token_id="hlead", metric_name="accuracy", baseline_value=0.1
        )
        run_command("sync", "--wait", "0")
    assert not [mark for mark in ACTING if mark in caplog.text]
    assert "for good" in caplog.text
    check(run_command("status"))
    check(run_command("events", "list"))
    check(run_command("queue", "list"))
    (letter,) = json.loads(run_command("queue", "list", "--json").stdout)
    check(run_command("queue", "show", letter["op_id"]))


def test_the_reason_of_an_outage_acts_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    reporter = OutageReporter("Backend x", lambda: "the journal", automatic=True)
    reporter.fell_back(UnavailableError(FORGED), "journal")
    (record,) = caplog.records
    assert f"does not take writes ({SHOWN}\\x0aHealthy." in record.getMessage()
    assert "\n" not in record.getMessage()


def test_errors_are_one_line(run_command: Run) -> None:
    result = run_command("queue", "show", FORGED, "--backend", "mock")
    assert result.stderr.count("\n") == 1
    check(result)
    assert run_command("status", "--backend", FORGED).stderr.count("\n") == 1


def test_only_a_cell_has_several_lines() -> None:
    screen = io.StringIO()
    out = console()
    out.file = screen
    shown = table("a", "b", "c")
    shown.add_row(cell(Text("\x9bred\x9b"), "", "below"), "two\nlines", Text("x"))
    out.print(shown)
    out.print(Text("\x9bplain"))
    lines = [line.split() for line in screen.getvalue().splitlines() if line.strip()]
    assert lines[0] == ["a", "b", "c"]
    assert lines[2] == [r"\x9bred\x9b", r"two\x0alines", "x"]
    assert lines[3] == ["below"]
    assert lines[-1] == [r"\x9bplain"]


def test_an_escaped_cell_keeps_its_colours() -> None:
    shown = cell(Text.assemble("\x9b", ("red", "red")), "", "below")
    assert shown.plain == "\\x9bred\nbelow"
    assert [(span.start, span.end, span.style) for span in shown.spans] == [(4, 7, "red")]


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("status", "--json"), ("sync", "--wait", "0"), ("queue", "list", "--waiting")],
)
def test_every_encoding_takes_what_is_printed(arguments: tuple[str, ...]) -> None:
    """A name may hold what the terminal's encoding has no character for; ASCII has the fewest."""
    manager = ExperimentManager(
        "🎉 é", mlflow_tracking_uri=REFUSED_URL, settings=Settings.load(auto_sync=False)
    )
    manager.start_run(run_name="waits").end()
    manager.runtime.close_connections()
    done = subprocess.run(
        [sys.executable, "-m", "hokusai_core", *arguments, "--tracking-uri", REFUSED_URL],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    printed = done.stdout.decode("ascii")
    assert b"Traceback" not in done.stderr
    assert done.returncode == (0 if arguments[0] == "queue" else 1)
    if "--json" in arguments:
        assert printed.isascii()
        assert "experiment/🎉 é" in {each["stream"] for each in json.loads(printed)["streams"]}
    else:
        assert r"\U0001f389" in printed
