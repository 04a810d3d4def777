"""Bad input: refused at the call, the same on every backend, in health and in an outage."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hokusai_core import ExperimentManager, InvalidInputError, Metric, RunHandle
from tests.behaviour.stack import Stack


def log_a_folder_with_a_bad_name(run: RunHandle) -> None:
    """Log a folder whose last file has a name that MLflow's server refuses."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.txt", "b#.txt"):
            (Path(folder) / name).write_text("x")
        run.log_artifacts(folder)


CALLS: list[tuple[str, Callable[[RunHandle], Any]]] = [
    ("metric text", lambda run: run.log_metric("m", "0.5")),
    ("metric None", lambda run: run.log_metric("m", None)),
    ("metric array", lambda run: run.log_metric("m", np.array([1.0, 2.0]))),
    ("metric complex", lambda run: run.log_metric("m", 1j)),
    ("metric object", lambda run: run.log_metric("m", object())),
    ("one bad metric of many", lambda run: run.log_metrics({"good": 1.0, "bad": "x"})),
    ("metrics no dict", lambda run: run.log_metrics([("m", 1.0)])),
    ("key empty", lambda run: run.log_metric("", 1.0)),
    ("key None", lambda run: run.log_metric(None, 1.0)),
    ("key blank", lambda run: run.log_param("   ", 1.0)),
    ("key emoji", lambda run: run.log_metric("🚀", 1.0)),
    ("key quote", lambda run: run.set_tag("it's", 1.0)),
    ("key long", lambda run: run.log_param("k" * 251, 1.0)),
    ("key traversing", lambda run: run.set_tag("../x", "v")),
    ("key absolute", lambda run: run.set_tag("/x", "v")),
    ("key newline", lambda run: run.log_metric("m\n", 1.0)),
    ("step fraction", lambda run: run.log_metric("m", 1.0, step=1.5)),
    ("step text", lambda run: run.log_metric("m", 1.0, step="1")),
    ("step large", lambda run: run.log_metric("m", 1.0, step=2**63)),
    ("time negative", lambda run: run.log_metric("m", 1.0, timestamp=-1)),
    ("time fraction", lambda run: run.log_metric("m", 1.0, timestamp=0.5)),
    ("param surrogate", lambda run: run.log_param("p", "\ud83d")),
    ("tag NUL", lambda run: run.set_tag("t", "a\x00b")),
    (
        "batch of metrics",
        lambda run: run.log_batch([Metric(key="m", value=1, timestamp=n) for n in range(1001)]),
    ),
    ("batch of params", lambda run: run.log_batch(params={f"p{n}": n for n in range(101)})),
    ("batch of tags", lambda run: run.log_batch(tags={f"t{n}": n for n in range(101)})),
    (
        "batch of all",
        lambda run: run.log_batch(
            [Metric(key="m", value=1, timestamp=n) for n in range(950)],
            {f"p{n}": n for n in range(60)},
        ),
    ),
    ("artifact missing", lambda run: run.log_artifact("/no/such/file")),
    ("artifact path traversing", lambda run: run.log_text("x", "../x.txt")),
    ("artifact path absolute", lambda run: run.log_text("x", "/x.txt")),
    ("artifact path dots", lambda run: run.log_text("x", "a/./x.txt")),
    ("artifact path backslash", lambda run: run.log_text("x", "a\\x.txt")),
    ("artifact path hash", lambda run: run.log_text("x", "a#b.txt")),
    ("artifact path quoted", lambda run: run.log_text("x", "a%2Fb.txt")),
    ("artifact path part long", lambda run: run.log_text("x", "a/" + "模" * 86)),
    ("artifact folder with a bad name", log_a_folder_with_a_bad_name),
    ("artifact path empty", lambda run: run.log_text("x", "")),
    ("artifact folder traversing", lambda run: run.log_artifact(__file__, "../x")),
    ("artifacts of a file", lambda run: run.log_artifacts(__file__)),
    ("text no text", lambda run: run.log_text(b"x", "x.txt")),
    ("dict not JSON", lambda run: run.log_dict({"x": object()}, "x.json")),
    ("figure none", lambda run: run.log_figure(object(), "x.png")),
    ("model unknown", lambda run: run.log_model(object())),
    ("model name", lambda run: run.log_model(Path(__file__).parent, "a/b")),
    ("status unknown", lambda run: run.set_status("DONE")),
    ("name empty", lambda run: run.set_name("")),
    ("name long", lambda run: run.set_name("n" * 251)),
    ("list traversing", lambda run: run.list_artifacts("../..")),
    ("download traversing", lambda run: run.download_artifacts("../x")),
]


@pytest.mark.parametrize("outage", [False, True], ids=["health", "outage"])
def test_bad_input_to_a_run_is_refused_and_writes_nothing(
    failing: Stack, outage: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "working folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    manager = failing.manager()
    run = manager.start_run()
    with failing.outage() if outage else contextlib.nullcontext():
        if outage:
            run.set_tag("known", "outage")
        before = manager.get_run(run.run_id)
        accepted = []
        for name, call in CALLS:
            try:
                call(run)
            except InvalidInputError as refusal:
                assert isinstance(refusal, ValueError)
                assert len(str(refusal)) > 20
            else:
                accepted.append(name)
        assert accepted == []
        after = manager.get_run(run.run_id)
        assert after == before
        if not outage:
            assert run.list_artifacts() == ()
    run.end()
    run.wait(30)
    assert list(folder.iterdir()) == []


def test_bad_input_on_the_sqlite_primary_is_refused_alike(make_stack: Any) -> None:
    manager = make_stack("sqlite").manager()
    with manager.start_run() as run:
        before = manager.get_run(run.run_id)
        for name, call in CALLS:
            with pytest.raises(InvalidInputError):
                call(run)
                pytest.fail(f"{name} was accepted")
        assert manager.get_run(run.run_id) == before


MANAGER_CALLS: list[tuple[str, Callable[[ExperimentManager], Any]]] = [
    ("empty name", lambda m: m.start_run(run_name="")),
    ("long name", lambda m: m.start_run(run_name="n" * 251)),
    ("name no text", lambda m: m.start_run(run_name=5)),
    ("tags no dict", lambda m: m.start_run(tags=["a"])),
    ("empty tag key", lambda m: m.start_run(tags={"": "a"})),
    ("bad run id", lambda m: m.start_run("not/an/id")),
    ("empty parent", lambda m: m.start_run(parent_run_id="")),
    ("bad id to get", lambda m: m.get_run("'; drop table")),
    ("no results", lambda m: m.search_runs(max_results=0)),
    ("too many results", lambda m: m.search_runs(max_results=50_001)),
    ("format", lambda m: m.search_runs(output_format="csv")),
    ("empty key", lambda m: m.get_metric_history("a" * 32, "")),
]


def test_bad_input_to_a_manager_is_refused(stack: Stack) -> None:
    manager = stack.manager()
    accepted = []
    for name, call in MANAGER_CALLS:
        with contextlib.suppress(InvalidInputError):
            call(manager)
            accepted.append(name)
    assert accepted == []
    assert manager.search_runs() == []


def test_long_values_are_cut_with_a_warning_or_refused(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    with stack.manager().start_run() as run:
        run.log_param("p", "x" * 6001)
        run.set_tag("t", "y" * 8001)
    found = run.get().data
    assert (len(found.params["p"]), len(found.tags["t"])) == (6000, 8000)
    messages = [record.getMessage() for record in caplog.records if record.name == "hokusai"]
    assert any("'p' has 6001 characters" in message for message in messages)
    assert any("'t' has 8001 characters" in message for message in messages)
    strict = Stack(
        stack.settings.model_copy(update={"long_values": "error"}),
        None,
        lambda: None,
        backend=stack.backend,
        tracking_uri=stack.tracking_uri,
    )
    manager = strict.manager()
    with manager.start_run() as run, pytest.raises(InvalidInputError, match="6001"):
        run.log_param("p", "x" * 6001)
    assert run.get().data.params == {}
    manager.runtime.drainer.stop(5.0)
    manager.runtime.close_connections()
