"""``hokusai queue``: what was refused is seen, understood, and treated, against a real server."""

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from hokusai_core import ExperimentManager
from hokusai_core.operations import LogBatch
from tests.cli.conftest import REFUSED_URL, Outage
from tests.support.mlflow_server import MlflowServer

Run = Callable[..., Result]
RunJson = Callable[..., tuple[int, Any]]


@pytest.fixture
def refused_param(outage: Outage, run_json: RunJson) -> tuple[str, dict[str, Any]]:
    """A run whose second value of a param the server refused; the rest is delivered."""
    outage.end()
    run = outage.manager.start_run(run_name="changes its mind")
    run.log_param("lr", 0.1)
    outage.begin()
    outage.runtime.router.write(LogBatch(run_id=run.run_id, params={"lr": "0.2"}))
    run.log_metric("loss", 0.5)
    run.end()
    outage.end()
    run_json("sync", "--tracking-uri", outage.proxy.url)
    code, found = run_json("queue", "list", "--tracking-uri", outage.proxy.url)
    assert code == 0
    (letter,) = found
    return run.run_id, letter


def test_what_was_refused_is_listed_and_shown(
    run_command: Run, run_json: RunJson, outage: Outage, refused_param: tuple[str, dict[str, Any]]
) -> None:
    run_id, letter = refused_param
    later = run_command("sync", "--tracking-uri", outage.proxy.url)
    assert later.exit_code == 1
    assert "1 dead letter, refused for good" in later.stdout
    code, report = run_json("sync", "--tracking-uri", outage.proxy.url)
    assert (code, report["dead"], report["dead_letters"], report["complete"]) == (1, 0, 1, True)
    assert run_json("sync", "--tracking-uri", REFUSED_URL)[1]["dead_letters"] == 0
    assert (letter["kind"], letter["state"], letter["place"]) == ("log_batch", "dead", "journal")
    assert letter["stream"] == f"run/{run_id}"
    assert "lr" in letter["error"]
    listed = run_command("queue", "list", "--dead", "--tracking-uri", outage.proxy.url)
    assert listed.exit_code == 0
    for text in (letter["op_id"], "log_batch", f"run/{run_id}"):
        assert text in listed.stdout
    code, shown = run_json("queue", "show", letter["op_id"], "--tracking-uri", outage.proxy.url)
    assert code == 0
    assert shown["payload"]["params"] == {"lr": "0.2"}
    assert shown["dependents"] == []
    text = run_command("queue", "show", letter["op_id"], "--tracking-uri", outage.proxy.url).stdout
    assert '"lr": "0.2"' in text
    assert "dead" in text
    code, found = run_json(
        "queue", "list", "--all", "--stream", "run/none", "--tracking-uri", outage.proxy.url
    )
    assert (code, found) == (0, [])


def test_a_retry_comes_back_and_a_discard_ends_it(
    run_command: Run, run_json: RunJson, outage: Outage, refused_param: tuple[str, dict[str, Any]]
) -> None:
    _, letter = refused_param
    where = ("--tracking-uri", outage.proxy.url)
    again = run_command("queue", "retry", letter["op_id"], *where)
    assert (again.exit_code, "1 operation waiting again" in again.stdout) == (0, True)
    _, found = run_json("queue", "list", "--waiting", *where)
    assert [entry["op_id"] for entry in found] == [letter["op_id"]]
    assert found[0]["next_attempt_seconds"] is not None
    assert run_json("sync", *where)[1]["dead"] == 1
    gone = run_command("queue", "discard", letter["op_id"], *where)
    assert (gone.exit_code, "Discarded 1 operation." in gone.stdout) == (0, True)
    assert "Nothing is dead." in run_command("queue", "list", *where).stdout
    assert run_json("sync", *where)[0] == 0
    _code, found = run_json("queue", "list", "--all", *where)
    assert {entry["state"] for entry in found} == {"delivered", "discarded"}


def test_what_waits_is_listed_with_its_next_attempt(
    run_command: Run, run_json: RunJson, refused: ExperimentManager
) -> None:
    run = refused.start_run(run_name="waits")
    run.log_metric("loss", 0.5)
    where = ("--tracking-uri", REFUSED_URL)
    run_command("sync", "--wait", "0", *where)
    code, found = run_json("queue", "list", "--waiting", *where)
    assert code == 0
    kinds = {entry["kind"]: entry for entry in found}
    assert set(kinds) == {"create_experiment", "create_run", "log_batch"}
    assert kinds["create_experiment"]["error"]
    text = run_command("queue", "list", "--waiting", *where).stdout
    assert f"run/{run.run_id}" in text
    assert "next attempt" in text
    limited = run_command("queue", "list", "--waiting", "--limit", "1", *where).stdout
    assert "the first 1" in limited


def test_a_creation_is_discarded_only_with_what_needs_it(
    run_command: Run, run_json: RunJson, refused: ExperimentManager
) -> None:
    run = refused.start_run(run_name="never")
    run.log_metric("loss", 0.5)
    where = ("--tracking-uri", REFUSED_URL)
    _, found = run_json("queue", "list", "--waiting", "--stream", f"run/{run.run_id}", *where)
    creation, batch = found
    _, shown = run_json("queue", "show", creation["op_id"], *where)
    assert [entry["op_id"] for entry in shown["dependents"]] == [batch["op_id"]]
    kept = run_command("queue", "discard", creation["op_id"], *where)
    assert kept.exit_code == 1
    assert batch["op_id"] in kept.stdout
    assert "Nothing was changed" in kept.stdout
    done = run_command("queue", "discard", creation["op_id"], "--yes", *where)
    assert (done.exit_code, "Discarded 2 operations." in done.stdout) == (0, True)


def test_a_backlog_is_moved_when_it_is_confirmed(
    run_command: Run, run_json: RunJson, outage: Outage, mlflow_server: MlflowServer
) -> None:
    """The server comes back at another address: here, its own instead of the proxy's."""
    run_id = outage.log_run("moves")
    old = outage.runtime.destination
    server = f"http://127.0.0.1:{mlflow_server.port}"
    preview = run_command("queue", "move", "--from", old, "--tracking-uri", server)
    assert preview.exit_code == 1
    assert f"Waiting for {old}: " in preview.stdout
    assert "Nothing was changed" in preview.stdout
    done = run_command("queue", "move", "--from", old, "--yes", "--tracking-uri", server)
    assert done.exit_code == 0
    again = run_command("queue", "move", "--from", old, "--yes", "--tracking-uri", server)
    assert (again.exit_code, again.stdout) == (1, "")
    assert f"hold no entry of {old}" in again.stderr
    code, report = run_json("sync", "--tracking-uri", server)
    assert (code, report["left"], report["others"]) == (0, 0, {})
    manager = ExperimentManager(
        outage.manager.config.experiment_name,
        mlflow_tracking_uri=server,
        settings=outage.manager.config.settings,
    )
    try:
        assert len(manager.get_metric_history(run_id, "loss")) == 5
    finally:
        manager.runtime.close_connections()


def test_a_move_from_a_mistyped_destination_is_refused(
    run_command: Run, refused: ExperimentManager
) -> None:
    refused.start_run(run_name="waits").end()
    own = refused.runtime.destination
    for more in ((), ("--yes",)):
        arguments = ("move", "--from", "http://anna:secret@typo:5000", "--to", "http://new", *more)
        result = run_command("queue", *arguments, "--tracking-uri", REFUSED_URL)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "hold no entry of http://typo:5000: " in result.stderr
        assert f"What waits is of: {own}." in result.stderr


def test_a_move_to_where_no_worker_may_be_says_so(
    run_command: Run, run_json: RunJson, refused: ExperimentManager
) -> None:
    refused.start_run(run_name="waits").end()
    where = ("--tracking-uri", REFUSED_URL)
    target = "HTTP://anna:secret@New:5000/"
    arguments = ("queue", "move", "--from", f"{REFUSED_URL}/", "--to", target, *where)
    preview = run_command(*arguments)
    done = run_command(*arguments, "--yes")
    assert (preview.exit_code, done.exit_code) == (1, 0)
    for result in (preview, done):
        assert "the journal knows nothing of http://new:5000: " in result.stdout
        assert "secret" not in result.output
    _, figures = run_json("status", *where)
    assert list(figures["others"]) == ["http://new:5000"]
    back = run_command("queue", "move", "--from", "http://new:5000", "--yes", *where)
    assert "knows nothing" not in back.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "f" * 32), "knows no operation"),
        (("retry", "f" * 32), "knows no operation"),
        (("discard", "f" * 32), "knows no operation"),
        (("retry",), "--all"),
        (("retry", "f" * 32, "--all"), "--all"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    run_command: Run, arguments: tuple[str, ...], words: str
) -> None:
    result = run_command("queue", *arguments, "--backend", "mock")
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_without_a_journal_the_exit_code_is_two(
    run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOKUSAI_DATABASE_URL", "postgresql+psycopg://a:hidden@127.0.0.1:1/hokusai")
    result = run_command("queue", "list", "--tracking-uri", REFUSED_URL)
    assert result.exit_code == 2
    assert "hidden" not in result.output
    monkeypatch.setenv("HOKUSAI_FALLBACK", "none")
    assert run_command("queue", "list", "--backend", "mock").exit_code == 2


def test_nothing_dead_is_said(run_command: Run) -> None:
    result = run_command("queue", "list", "--backend", "mock")
    assert (result.exit_code, result.stdout) == (0, "Nothing is dead.\n")
    retried = run_command("queue", "retry", "--all", "--backend", "mock")
    assert retried.exit_code == 0
    assert "0 operations waiting again" in retried.stdout
