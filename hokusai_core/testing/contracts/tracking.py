"""What every tracking backend has to do."""

import math
import uuid
from pathlib import Path

import pytest

from hokusai_core.backends import OpenBackend
from hokusai_core.entities import Run
from hokusai_core.errors import InvalidInputError, NotFoundError, PermanentError
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.limits import STEP_MAX, STEP_MIN
from hokusai_core.operations import (
    ArtifactOwner,
    CreateExperiment,
    CreateLoggedModel,
    FinalizeLoggedModel,
    LogBatch,
    MetricPoint,
    UpdateRun,
)
from hokusai_core.queries import RunQuery
from hokusai_core.testing.contracts.clauses import clause
from hokusai_core.testing.contracts.samples import (
    NASTY_TEXTS,
    deadline,
    file_of,
    new_run,
    unique,
)
from hokusai_core.testing.contracts.tracking_writes import TrackingWrites


class TrackingContract(TrackingWrites):
    """Tests of the specification :class:`~hokusai_core.hookspecs.TrackingBackend`."""

    @pytest.fixture
    def backend(self) -> OpenBackend:
        """The backend under test; a subclass gives it."""
        raise NotImplementedError

    @pytest.fixture
    def experiment_id(self, backend: OpenBackend) -> str:
        """An experiment of this test's own."""
        return backend.write(CreateExperiment(name=unique("contract")), deadline()).primary_id

    @pytest.fixture
    def run_id(self, backend: OpenBackend, experiment_id: str) -> str:
        """A run of this test's own."""
        return backend.write(new_run(experiment_id), deadline()).primary_id

    @clause("tracking.check")
    def test_it_says_that_it_answers(self, backend: OpenBackend) -> None:
        """A check describes what answered."""
        assert backend.tracking.tracking_check(deadline()).description

    @clause("tracking.experiment-once")
    def test_an_experiment_is_created_once(self, backend: OpenBackend) -> None:
        """A second creation of the same name finds the first one's."""
        name = unique("experiment")
        first = backend.write(CreateExperiment(name=name, tags={"team": "a"}), deadline())
        again = backend.write(CreateExperiment(name=name), deadline())
        assert (first.created, again.created) == (True, False)
        assert first.primary_id == again.primary_id
        found = backend.tracking.tracking_get_experiment(first.primary_id, deadline())
        assert (found.name, found.lifecycle_stage) == (name, "active")
        assert found.tags["team"] == "a"

    @clause("tracking.find-experiment")
    def test_an_experiment_is_found_by_name(self, backend: OpenBackend) -> None:
        """None or one."""
        name = unique("it's an experiment")
        assert backend.tracking.tracking_find_experiments(name, deadline()) == ()
        created = backend.write(CreateExperiment(name=name), deadline())
        (found,) = backend.tracking.tracking_find_experiments(name, deadline())
        assert found.experiment_id == created.primary_id

    @clause("tracking.unknown")
    def test_unknown_things_are_not_found(self, backend: OpenBackend) -> None:
        """Reads of what does not exist, and writes to it, raise NotFoundError."""
        unknown = uuid.uuid4().hex
        with pytest.raises(NotFoundError):
            backend.tracking.tracking_get_run(unknown, deadline())
        with pytest.raises(NotFoundError):
            backend.tracking.tracking_get_experiment("987654321", deadline())
        with pytest.raises(NotFoundError):
            backend.write(LogBatch(run_id=unknown, tags={"a": "b"}), deadline())
        with pytest.raises(NotFoundError):
            backend.write(UpdateRun(run_id=unknown, status="FINISHED"), deadline())

    @clause("tracking.run-whole")
    def test_a_run_carries_what_its_creation_says(
        self, backend: OpenBackend, experiment_id: str
    ) -> None:
        """Name, time, tags and ``op_id`` are there after the one request."""
        operation = new_run(experiment_id, start_time=1_234_567_890_123, tags={"team": "a"})
        run = self._get(backend, backend.write(operation, deadline()).primary_id)
        assert run.info.run_name == operation.run_name
        assert run.info.experiment_id == experiment_id
        assert (run.info.status, run.info.lifecycle_stage) == ("RUNNING", "active")
        assert (run.info.start_time, run.info.end_time) == (1_234_567_890_123, None)
        assert run.data.tags["team"] == "a"
        assert run.data.tags[OP_ID_TAG] == operation.op_id

    @clause("tracking.find-run")
    def test_a_run_is_found_by_its_creation(self, backend: OpenBackend, experiment_id: str) -> None:
        """At once after the creation's answer; a repeat makes another one, or finds the first."""
        operation = new_run(experiment_id)
        assert backend.tracking.tracking_find_runs(operation, deadline()) == ()
        ids = [backend.write(operation, deadline()).primary_id for _ in range(2)]
        found = backend.tracking.tracking_find_runs(operation, deadline())
        assert {run.info.run_id for run in found} == set(ids)
        everywhere = backend.tracking.tracking_find_by_op_id(operation.op_id, deadline())
        assert set(everywhere) == set(ids)

    @clause("tracking.batch-repeat")
    def test_a_repeated_batch_changes_nothing(self, backend: OpenBackend, run_id: str) -> None:
        """Equal points are one, equal params are accepted, tags are written again."""
        points = tuple(
            MetricPoint(key="loss", value=0.5 / step, timestamp=1000 + step, step=step)
            for step in range(1, 4)
        )
        batch = LogBatch(run_id=run_id, metrics=points, params={"lr": "0.1"}, tags={"stage": "dev"})
        for _ in range(2):
            backend.write(batch, deadline())
        run = self._get(backend, run_id)
        assert run.data.params == {"lr": "0.1"}
        assert run.data.tags["stage"] == "dev"
        assert run.data.metrics == {"loss": points[-1].value}
        assert backend.tracking.tracking_get_metric_history(run_id, "loss", deadline()) == points

    @clause("tracking.latest-metric")
    def test_the_latest_metric_is_that_of_the_greatest_step(
        self, backend: OpenBackend, run_id: str
    ) -> None:
        """By step, then timestamp, then value; not by the order of writing."""
        points = (
            MetricPoint(key="loss", value=9.0, timestamp=10, step=2),
            MetricPoint(key="loss", value=1.0, timestamp=20, step=2),
            MetricPoint(key="loss", value=3.0, timestamp=20, step=2),
            MetricPoint(key="loss", value=5.0, timestamp=99, step=1),
        )
        for point in points:
            backend.write(LogBatch(run_id=run_id, metrics=(point,)), deadline())
        run = self._get(backend, run_id)
        assert run.data.metrics == {"loss": 3.0}
        assert run.latest_metrics == (points[2],)

    @clause("tracking.history-order")
    def test_a_history_is_in_the_order_of_time(self, backend: OpenBackend, run_id: str) -> None:
        """By timestamp, then step; a key never logged has none."""
        points = tuple(
            MetricPoint(key="loss", value=float(step), timestamp=time, step=step)
            for time, step in ((3, 1), (1, 5), (1, 2), (2, 2))
        )
        backend.write(LogBatch(run_id=run_id, metrics=points), deadline())
        history = backend.tracking.tracking_get_metric_history(run_id, "loss", deadline())
        assert [(point.timestamp, point.step) for point in history] == [
            (1, 2),
            (1, 5),
            (2, 2),
            (3, 1),
        ]
        assert backend.tracking.tracking_get_metric_history(run_id, "other", deadline()) == ()

    @clause("tracking.special-numbers")
    def test_special_numbers_are_kept(self, backend: OpenBackend, run_id: str) -> None:
        """NaN stays NaN, infinities are at least the greatest float, steps have 64 bits."""
        points = (
            MetricPoint(key="nan", value=math.nan, timestamp=1),
            MetricPoint(key="inf", value=math.inf, timestamp=1),
            MetricPoint(key="-inf", value=-math.inf, timestamp=1),
            MetricPoint(key="steps", value=5e-324, timestamp=1, step=STEP_MIN),
            MetricPoint(key="steps", value=-0.1, timestamp=1, step=STEP_MAX),
        )
        for _ in range(2):
            backend.write(LogBatch(run_id=run_id, metrics=points), deadline())
        metrics = self._get(backend, run_id).data.metrics
        assert math.isnan(metrics["nan"])
        assert metrics["inf"] > 1.7e308
        assert metrics["-inf"] < -1.7e308
        for key in ("nan", "inf", "-inf"):
            assert len(backend.tracking.tracking_get_metric_history(run_id, key, deadline())) == 1
        steps = backend.tracking.tracking_get_metric_history(run_id, "steps", deadline())
        assert steps == points[3:]

    @clause("tracking.param-once")
    def test_a_param_does_not_change(self, backend: OpenBackend, run_id: str) -> None:
        """Another value is refused for good, and the first one stays."""
        backend.write(LogBatch(run_id=run_id, params={"lr": "0.1"}), deadline())
        with pytest.raises(PermanentError):
            backend.write(LogBatch(run_id=run_id, params={"lr": "0.2"}), deadline())
        assert self._get(backend, run_id).data.params == {"lr": "0.1"}

    @clause("tracking.last-tag")
    def test_the_last_tag_stays(self, backend: OpenBackend, run_id: str) -> None:
        """A tag overwrites."""
        for value in ("one", "two"):
            backend.write(LogBatch(run_id=run_id, tags={"stage": value}), deadline())
        assert self._get(backend, run_id).data.tags["stage"] == "two"

    @clause("tracking.texts")
    def test_texts_are_data(self, backend: OpenBackend, run_id: str) -> None:
        """Quotes, line breaks and any script come back as they were."""
        texts = {f"text {number}": text for number, text in enumerate(NASTY_TEXTS)}
        backend.write(LogBatch(run_id=run_id, params=texts, tags=texts), deadline())
        run = self._get(backend, run_id)
        assert {key: run.data.params.get(key) for key in texts} == texts
        assert {key: run.data.tags.get(key) for key in texts} == texts

    @clause("tracking.update-run")
    def test_a_run_ends_with_the_time_that_is_given(
        self, backend: OpenBackend, run_id: str
    ) -> None:
        """Status, end time and name are set; what is None is left alone. Repeats are harmless."""
        before = self._get(backend, run_id)
        for _ in range(2):
            backend.write(
                UpdateRun(run_id=run_id, status="FINISHED", end_time=1_700_000_100_000), deadline()
            )
        run = self._get(backend, run_id)
        assert (run.info.status, run.info.end_time) == ("FINISHED", 1_700_000_100_000)
        assert run.info.run_name == before.info.run_name
        backend.write(UpdateRun(run_id=run_id, run_name="renamed"), deadline())
        run = self._get(backend, run_id)
        assert (run.info.run_name, run.info.status) == ("renamed", "FINISHED")
        assert run.info.end_time == 1_700_000_100_000

    @clause("tracking.search")
    def test_runs_are_searched_by_what_was_logged(
        self, backend: OpenBackend, experiment_id: str
    ) -> None:
        """Filters compare metrics, params and tags; results are sorted as asked."""
        ids = []
        for number in range(3):
            operation = new_run(
                experiment_id, start_time=1000 + number, tags={"parity": str(number % 2)}
            )
            ids.append(backend.write(operation, deadline()).primary_id)
            point = MetricPoint(key="loss", value=float(number), timestamp=1)
            backend.write(
                LogBatch(run_id=ids[-1], metrics=(point,), params={"n": str(number)}), deadline()
            )
        assert self._search(backend, experiment_id) == ids[::-1]
        assert self._search(backend, experiment_id, "metrics.loss > 0.5") == [ids[2], ids[1]]
        assert self._search(backend, experiment_id, "params.n = '1'") == [ids[1]]
        assert self._search(backend, experiment_id, "tags.parity = '0'") == [ids[2], ids[0]]
        assert self._search(backend, experiment_id, "", "metrics.loss ASC") == ids
        with pytest.raises(InvalidInputError):
            self._search(backend, experiment_id, "loss is what?")

    @clause("tracking.run-pages")
    def test_pages_hold_each_run_once(self, backend: OpenBackend, experiment_id: str) -> None:
        """The token of the last page is empty."""
        ids = {
            backend.write(new_run(experiment_id, start_time=1000 + number), deadline()).primary_id
            for number in range(5)
        }
        found: list[str] = []
        token, pages = "", 0
        while pages == 0 or token:
            query = RunQuery(experiment_ids=(experiment_id,), max_results=2, page_token=token)
            page = backend.tracking.tracking_search_runs(query, deadline())
            found += [run.info.run_id for run in page.items]
            token, pages = page.next_page_token, pages + 1
            assert pages <= 4
        assert len(found) == 5
        assert set(found) == ids

    @clause("tracking.artifacts")
    def test_files_are_stored_and_listed(
        self, backend: OpenBackend, run_id: str, tmp_path: Path
    ) -> None:
        """Put overwrites; a listing shows one folder; the bytes come back as they were."""
        self._need(backend, "artifacts")
        owner = ArtifactOwner(kind="run", id=run_id)
        assert backend.tracking.tracking_list_artifacts(owner, "", deadline()) == ()
        content = bytes(range(256))
        for path, data in (("a.txt", b"old"), ("a.txt", b""), ("deep/er/b ü.bin", content)):
            operation, open_content = file_of(run_id, path, data)
            backend.write(operation, deadline(), open_content)
        root = backend.tracking.tracking_list_artifacts(owner, "", deadline())
        assert [(entry.path, entry.is_dir) for entry in root] == [("a.txt", False), ("deep", True)]
        assert root[0].file_size == 0
        (inner,) = backend.tracking.tracking_list_artifacts(owner, "deep/er", deadline())
        assert (inner.path, inner.is_dir, inner.file_size) == ("deep/er/b ü.bin", False, 256)
        target = tmp_path / "b.bin"
        got = backend.tracking.tracking_download_artifact(
            owner, "deep/er/b ü.bin", target, deadline()
        )
        assert got == target
        assert target.read_bytes() == content
        with pytest.raises(NotFoundError):
            backend.tracking.tracking_download_artifact(owner, "none", tmp_path / "n", deadline())

    @clause("tracking.logged-model")
    def test_a_logged_model_becomes_ready(
        self, backend: OpenBackend, experiment_id: str, run_id: str, tmp_path: Path
    ) -> None:
        """It is found by its creation, has files of its own, and finalizing twice is harmless."""
        self._need(backend, "logged_models")
        operation = CreateLoggedModel(run_id=run_id, experiment_id=experiment_id, name="model")
        assert backend.tracking.tracking_find_logged_models(operation, deadline()) == ()
        model_id = backend.write(operation, deadline()).primary_id
        (found,) = backend.tracking.tracking_find_logged_models(operation, deadline())
        assert (found.model_id, found.name, found.source_run_id) == (model_id, "model", run_id)
        assert found.status == "PENDING"
        by_op_id = backend.tracking.tracking_find_by_op_id(operation.op_id, deadline())
        assert by_op_id == (model_id,)
        owner = ArtifactOwner(kind="model", id=model_id)
        stored, open_content = file_of(run_id, "MLmodel", b"flavors: {}\n", owner)
        backend.write(stored, deadline(), open_content)
        for _ in range(2):
            backend.write(FinalizeLoggedModel(run_id=run_id, model_id=model_id), deadline())
        assert backend.tracking.tracking_get_logged_model(model_id, deadline()).status == "READY"
        of_run = backend.tracking.tracking_find_run_models(run_id, deadline())
        assert [(model.model_id, model.name) for model in of_run] == [(model_id, "model")]
        with pytest.raises(NotFoundError):
            backend.tracking.tracking_find_run_models(uuid.uuid4().hex, deadline())
        (listed,) = backend.tracking.tracking_list_artifacts(owner, "", deadline())
        assert listed.path == "MLmodel"
        target = tmp_path / "MLmodel"
        backend.tracking.tracking_download_artifact(owner, "MLmodel", target, deadline())
        assert target.read_bytes() == b"flavors: {}\n"
        with pytest.raises(NotFoundError):
            backend.tracking.tracking_get_logged_model(f"m-{uuid.uuid4().hex}", deadline())

    def _get(self, backend: OpenBackend, run_id: str) -> Run:
        return backend.tracking.tracking_get_run(run_id, deadline())

    def _search(
        self, backend: OpenBackend, experiment_id: str, filter_string: str = "", order: str = ""
    ) -> list[str]:
        query = RunQuery(
            experiment_ids=(experiment_id,),
            filter_string=filter_string,
            order_by=(order,) if order else (),
        )
        page = backend.tracking.tracking_search_runs(query, deadline())
        return [run.info.run_id for run in page.items]

    def _need(self, backend: OpenBackend, capability: str) -> None:
        if not backend.can(capability):
            pytest.skip(f"Backend {backend.name!r} does not declare the capability {capability!r}.")
