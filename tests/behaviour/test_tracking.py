"""Runs: what is logged is read back, the same on every backend."""

import math
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hokusai_core import InvalidInputError, Metric, NotFoundError, RunHandle
from tests.behaviour.stack import Stack


def test_what_a_run_logged_is_read_back(stack: Stack) -> None:
    manager = stack.manager()
    with manager.start_run(run_name="first", tags={"team": "a"}, description="why") as run:
        run.log_params({"lr": 0.1, "layers": [1, 2]})
        run.log_metric("loss", 0.3, step=1)
        run.log_metrics({"loss": 0.2, "accuracy": np.float32(0.5)}, step=2)
        run.set_tags({"stage": "dev"})
        run.set_tag("stage", "prod")
    found = manager.get_run(run.run_id)
    assert found.info.run_name == "first"
    assert found.info.status == "FINISHED"
    assert found.info.end_time is not None
    assert found.info.start_time is not None
    assert found.info.start_time <= found.info.end_time
    assert found.data.params == {"lr": "0.1", "layers": "[1, 2]"}
    assert found.data.metrics == {"loss": 0.2, "accuracy": 0.5}
    assert found.data.tags["team"] == "a"
    assert found.data.tags["stage"] == "prod"
    assert found.data.tags["mlflow.note.content"] == "why"
    assert found.data.tags["mlflow.user"]
    assert (found.source, found.sync_state, found.complete) == ("primary", "delivered", True)
    assert (run.sync_state, run.primary_id) == ("delivered", run.run_id)
    points = manager.get_metric_history(run.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(1, 0.3), (2, 0.2)]


def test_equal_points_logged_in_a_loop_are_all_kept(stack: Stack) -> None:
    with stack.manager().start_run() as run:
        for _ in range(20):
            run.log_metric("flat", 1.0)
    assert len(stack.manager().get_metric_history(run.run_id, "flat")) == 20


def test_special_values_are_kept_as_mlflow_keeps_them(stack: Stack) -> None:
    with stack.manager().start_run() as run:
        run.log_metrics({"nan": math.nan, "inf": math.inf, "minus": -math.inf, "yes": True})
    metrics = run.get().data.metrics
    assert math.isnan(metrics["nan"])
    assert metrics["inf"] > 1e308
    assert metrics["minus"] < -1e308
    assert metrics["yes"] == 1.0


def test_more_than_one_request_can_carry_is_split(stack: Stack) -> None:
    with stack.manager().start_run() as run:
        run.log_params({f"p{n}": n for n in range(150)})
        run.log_metrics({f"m{n}": n for n in range(1200)})
        run.set_tags({f"t{n}": n for n in range(150)})
    data = run.get().data
    assert len(data.params) == 150
    assert len(data.metrics) == 1200
    assert len([tag for tag in data.tags if tag.startswith("t")]) >= 150


def test_an_exception_ends_the_run_as_failed_and_passes_through(stack: Stack) -> None:
    class Boom(Exception):
        pass

    boom = Boom("mine")
    with pytest.raises(Boom) as raised, stack.manager().start_run() as run:
        raise boom
    assert raised.value is boom
    assert run.get().info.status == "FAILED"


def test_nested_runs_name_their_parent(stack: Stack) -> None:
    manager = stack.manager()
    with manager.start_run() as parent:
        with pytest.raises(InvalidInputError, match="nested=True"):
            manager.start_run()
        with manager.start_run(nested=True) as child:
            assert manager.active_run() is child
        assert manager.active_run() is parent
        elsewhere = manager.start_run(parent_run_id=parent.run_id, nested=True)
        elsewhere.end()
    assert manager.active_run() is None
    for one in (child, elsewhere):
        assert one.get().data.tags["mlflow.parentRunId"] == parent.run_id


def test_other_threads_have_their_own_active_run(stack: Stack) -> None:
    manager = stack.manager()
    found: list[RunHandle | None] = []
    with manager.start_run():
        thread = threading.Thread(target=lambda: found.append(manager.active_run()))
        thread.start()
        thread.join()
    assert found == [None]


def test_a_run_is_resumed_by_its_id(stack: Stack) -> None:
    with stack.manager().start_run() as run:
        run.log_metric("loss", 1.0, step=1)
    with stack.manager().start_run(run.run_id, tags={"resumed": "yes"}) as again:
        assert again.run_id == run.run_id
        assert again.get().info.status == "RUNNING"
        again.log_metric("loss", 0.5, step=2)
    found = run.get()
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"loss": 0.5}
    assert found.data.tags["resumed"] == "yes"


def test_an_unknown_run_is_not_found(stack: Stack) -> None:
    with pytest.raises(NotFoundError):
        stack.manager().get_run("0" * 32)
    with pytest.raises(NotFoundError):
        stack.manager().start_run("0" * 32)


def test_artifacts_are_listed_and_downloaded(stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"\x00\x01")
    (folder / "deep" / "b.txt").write_text("b")
    with stack.manager().start_run() as run:
        run.log_artifact(folder / "a.bin")
        run.log_artifact(folder / "a.bin", "some/where")
        run.log_artifacts(folder, "all")
        run.log_dict({"x": np.float64(1.5)}, "data.json")
        run.log_text("grüße", "notes/text.txt")
        run.log_text("again", "notes/text.txt")
    assert [(entry.path, entry.is_dir) for entry in run.list_artifacts()] == [
        ("a.bin", False),
        ("all", True),
        ("data.json", False),
        ("notes", True),
        ("some", True),
    ]
    assert [entry.path for entry in run.list_artifacts("all")] == ["all/a.bin", "all/deep"]
    assert run.list_artifacts("data.json") == () or len(run.list_artifacts("data.json")) == 1
    target = tmp_path / "down"
    assert run.download_artifacts("notes/text.txt", target).read_text() == "again"
    assert (run.download_artifacts("all", target) / "deep" / "b.txt").read_text() == "b"
    everything = run.download_artifacts(dst=tmp_path / "everything")
    assert (everything / "some" / "where" / "a.bin").read_bytes() == b"\x00\x01"
    with pytest.raises(NotFoundError):
        run.download_artifacts("nothing.txt", target)


def test_runs_are_searched_and_given_as_a_frame(stack: Stack) -> None:
    manager = stack.manager()
    for loss in (0.3, 0.1, 0.2):
        with manager.start_run(run_name=f"run {loss}") as run:
            run.log_metric("loss", loss)
            run.log_param("kind", "odd" if loss == 0.1 else "even")
    ordered = manager.search_runs(order_by=["metrics.loss ASC"])
    assert [found.data.metrics["loss"] for found in ordered] == [0.1, 0.2, 0.3]
    assert len(manager.search_runs("metrics.loss < 0.25 and params.kind = 'even'")) == 1
    assert len(manager.search_runs(max_results=2)) == 2
    frame = manager.search_runs("metrics.loss > 0.15", output_format="pandas")
    assert sorted(frame["metrics.loss"]) == [0.2, 0.3]
    assert set(frame["params.kind"]) == {"even"}
    assert stack.manager(f"{stack.name} empty").search_runs() == []


def test_names_may_hold_any_characters(stack: Stack) -> None:
    name = f'{stack.name} it\'s "quoted" \\ % 🚀 模型'
    manager = stack.manager(name)
    with manager.start_run(run_name='o\'neill "x" 🚀') as run:
        run.set_tag("a key/with.all-kinds: of", "'\"\\%🚀")
        run.log_param("p", "'\"\\%🚀")
    found = stack.manager(name).get_run(run.run_id)
    assert found.info.run_name == 'o\'neill "x" 🚀'
    assert found.data.tags["a key/with.all-kinds: of"] == "'\"\\%🚀"
    assert found.data.params["p"] == "'\"\\%🚀"
    assert [one.info.run_id for one in stack.manager(name).search_runs()] == [run.run_id]


def test_threads_may_share_a_run(stack: Stack) -> None:
    with stack.manager().start_run() as run:

        def log(number: int) -> None:
            for step in range(10):
                run.log_metric(f"m{number}", step, step=step)
            run.set_tag(f"t{number}", "done")

        threads = [threading.Thread(target=log, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = run.get()
    assert len(found.data.metrics) == 6
    assert len(stack.manager().get_metric_history(run.run_id, "m3")) == 10
    assert all(found.data.tags[f"t{number}"] == "done" for number in range(6))


def test_a_batch_keeps_its_own_steps_and_times(stack: Stack) -> None:
    points = [Metric(key="m", value=n, timestamp=1_700_000_000_000 + n, step=n) for n in range(3)]
    with stack.manager().start_run() as run:
        run.log_batch(points, params={"a": 1}, tags={"b": 2})
    assert list(stack.manager().get_metric_history(run.run_id, "m")) == points


def test_the_first_tags_and_a_given_end_time_are_kept(stack: Stack) -> None:
    run = stack.manager().start_run()
    run.set_name("renamed")
    run.set_status("KILLED", end_time=1_900_000_000_000)
    info = run.get().info
    assert (info.run_name, info.status, info.end_time) == ("renamed", "KILLED", 1_900_000_000_000)


def test_a_pickled_handle_logs_and_never_ends_the_run(
    make_stack: Callable[[str], Stack],
) -> None:
    stack = make_stack("mlflow-sqlite")
    with stack.manager().start_run() as run:
        data = pickle.dumps(run)
        copy = pickle.loads(data)
        with copy:
            copy.log_metric("from_copy", 1.0)
        assert run.get().info.status == "RUNNING"
    assert run.get().data.metrics == {"from_copy": 1.0}
