"""What every tracking backend has to do with many, long, simultaneous and interrupted writes."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hokusai_core import limits
from hokusai_core.backends import OpenBackend
from hokusai_core.errors import BackendError, NotFoundError
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.operations import ArtifactOwner, LogBatch, MetricPoint, UpdateRun
from hokusai_core.queries import RunQuery
from hokusai_core.testing.contracts.clauses import clause
from hokusai_core.testing.contracts.interruptions import (
    CutWrites,
    Interruptions,
    Reopen,
)
from hokusai_core.testing.contracts.samples import deadline, file_of, new_run
from hokusai_core.testing.cuts import Cuts

_THREADS = 4
_LONG_AGO = 1_600_000_000_000


class TrackingWrites(Interruptions):
    """Tests of the writes of a tracking backend; a part of ``TrackingContract``."""

    @clause("tracking.every-metric")
    def test_every_metric_of_a_full_request_is_kept(
        self, backend: OpenBackend, run_id: str
    ) -> None:
        """As many points as one request may hold, each with its own value, time and step."""
        points = tuple(
            MetricPoint(key="loss", value=number / 7, timestamp=_LONG_AGO + number, step=number)
            for number in range(limits.METRICS_PER_REQUEST)
        )
        backend.write(LogBatch(run_id=run_id, metrics=points), deadline())
        history = backend.tracking.tracking_get_metric_history(run_id, "loss", deadline())
        assert history == points

    @clause("tracking.full-batch")
    def test_every_param_and_tag_of_a_full_request_is_kept(
        self, backend: OpenBackend, run_id: str
    ) -> None:
        """As many as one request may hold."""
        params = {f"param {number}": str(number) for number in range(limits.PARAMS_PER_REQUEST)}
        tags = {f"tag {number}": str(-number) for number in range(limits.TAGS_PER_REQUEST)}
        backend.write(LogBatch(run_id=run_id, params=params, tags=tags), deadline())
        data = backend.tracking.tracking_get_run(run_id, deadline()).data
        assert data.params == params
        assert {key: data.tags.get(key) for key in tags} == tags

    @clause("tracking.longest-values")
    def test_the_longest_values_are_kept_whole(self, backend: OpenBackend, run_id: str) -> None:
        """A param, a tag and their keys at MLflow's limits; none is accepted and then cut."""
        key = "k" * limits.KEY_CHARACTERS
        param, tag = "é" * limits.PARAM_VALUE_CHARACTERS, "模" * limits.TAG_VALUE_CHARACTERS
        backend.write(LogBatch(run_id=run_id, params={key: param}, tags={key: tag}), deadline())
        data = backend.tracking.tracking_get_run(run_id, deadline()).data
        assert data.params == {key: param}
        assert data.tags[key] == tag

    @clause("tracking.threads")
    def test_writes_of_several_threads_are_all_kept(
        self, backend: OpenBackend, run_id: str
    ) -> None:
        """Hooks are called at the same time, for one run as well."""

        def log(thread: int) -> None:
            for step in range(5):
                point = MetricPoint(key=f"m{thread}", value=0.5, timestamp=1, step=step)
                params = {f"p{thread}.{step}": "v"}
                backend.write(LogBatch(run_id=run_id, metrics=(point,), params=params), deadline())

        with ThreadPoolExecutor(_THREADS) as executor:
            list(executor.map(log, range(_THREADS)))
        run = backend.tracking.tracking_get_run(run_id, deadline())
        assert len(run.data.params) == _THREADS * 5
        for thread in range(_THREADS):
            key = f"m{thread}"
            history = backend.tracking.tracking_get_metric_history(run_id, key, deadline())
            assert [point.step for point in history] == list(range(5))

    @clause("tracking.runs-apart")
    def test_runs_are_apart(self, backend: OpenBackend, experiment_id: str) -> None:
        """What is written to one run, or ends it, is not seen in another one."""
        first, second = (
            backend.write(new_run(experiment_id), deadline()).primary_id for _ in range(2)
        )
        assert first != second
        point = MetricPoint(key="loss", value=1.0, timestamp=1)
        backend.write(
            LogBatch(run_id=first, metrics=(point,), params={"p": "1"}, tags={"t": "1"}), deadline()
        )
        backend.write(UpdateRun(run_id=first, status="FAILED", end_time=_LONG_AGO), deadline())
        other = backend.tracking.tracking_get_run(second, deadline())
        assert (other.data.metrics, other.data.params) == ({}, {})
        assert "t" not in other.data.tags
        assert (other.info.status, other.info.end_time) == ("RUNNING", None)

    @clause("tracking.read-after-write")
    def test_what_was_written_is_there_for_another_process(
        self, backend: OpenBackend, experiment_id: str, reopen: Reopen
    ) -> None:
        """A write that returned is stored: a backend that is opened anew reads it."""
        operation = new_run(experiment_id)
        run_id = backend.write(operation, deadline()).primary_id
        backend.write(LogBatch(run_id=run_id, params={"p": "1"}), deadline())
        run = reopen().tracking.tracking_get_run(run_id, deadline())
        assert run.data.params == {"p": "1"}
        assert run.data.tags[OP_ID_TAG] == operation.op_id

    # Writes that are cut off

    @clause("tracking.cut-creation")
    def test_a_creation_that_is_cut_off_is_whole_or_not_there(
        self, backend: OpenBackend, experiment_id: str, cuts: Cuts, reopen: Reopen
    ) -> None:
        """And is found by its ``op_id`` where it is there, so that nobody makes another one."""
        writes = CutWrites(cuts)
        for point in writes.points():
            operation = new_run(experiment_id, tags={"first": "tag"})
            with writes.at(point):
                backend.write(operation, deadline())
            after = reopen()
            found = after.tracking.tracking_find_runs(operation, deadline())
            assert len(found) <= 1, point
            for run in found:
                assert run.data.tags.get("first") == "tag", point
                assert run.info.run_name == operation.run_name, point
            if not found:
                after.write(operation, deadline())
            (run,) = after.tracking.tracking_find_runs(operation, deadline())
            query = RunQuery(experiment_ids=(experiment_id,))
            page = after.tracking.tracking_search_runs(query, deadline())
            names = [each.info.run_name for each in page.items]
            assert names.count(operation.run_name) == 1, point

    @clause("tracking.cut-batch")
    def test_a_batch_that_is_cut_off_can_be_repeated(
        self, backend: OpenBackend, run_id: str, cuts: Cuts, reopen: Reopen
    ) -> None:
        """After the repeat all of it is there once."""
        writes = CutWrites(cuts)
        for number, point in enumerate(writes.points()):
            key = f"m{number}"
            points = tuple(
                MetricPoint(key=key, value=float(step), timestamp=_LONG_AGO + step, step=step)
                for step in range(20)
            )
            batch = LogBatch(
                run_id=run_id, metrics=points, params={f"p{number}": "1"}, tags={"t": key}
            )
            with writes.at(point):
                backend.write(batch, deadline())
            after = reopen()
            after.write(batch, deadline())
            history = after.tracking.tracking_get_metric_history(run_id, key, deadline())
            assert history == points, point
            data = after.tracking.tracking_get_run(run_id, deadline()).data
            assert (data.params.get(f"p{number}"), data.tags.get("t")) == ("1", key), point

    @clause("tracking.cut-artifact")
    def test_a_file_that_is_cut_off_is_the_old_or_the_new_one(
        self, backend: OpenBackend, run_id: str, tmp_path: Path, cuts: Cuts, reopen: Reopen
    ) -> None:
        """Never a part of one; a repeat stores the new one."""
        if not backend.can("artifacts"):
            pytest.skip(f"Backend {backend.name!r} does not declare the capability 'artifacts'.")
        owner = ArtifactOwner(kind="run", id=run_id)
        old, new = b"old" * 70_000, b"new!" * 70_000
        writes = CutWrites(cuts)
        for number, point in enumerate(writes.points()):
            path = f"file {number}.bin"
            _store(backend, run_id, path, old)
            with writes.at(point):
                _store(backend, run_id, path, new)
            after, target = reopen(), tmp_path / path
            after.tracking.tracking_download_artifact(owner, path, target, deadline())
            assert target.read_bytes() in (old, new), point
            _store(after, run_id, path, new)
            after.tracking.tracking_download_artifact(owner, path, target, deadline())
            assert target.read_bytes() == new, point

    @clause("tracking.content-fails")
    def test_content_that_cannot_be_read_leaves_nothing(
        self, backend: OpenBackend, run_id: str, tmp_path: Path
    ) -> None:
        """The call raises, and no part of the file is there."""
        if not backend.can("artifacts"):
            pytest.skip(f"Backend {backend.name!r} does not declare the capability 'artifacts'.")
        operation, _ = file_of(run_id, "broken.bin", b"x" * 300_000)
        with pytest.raises((OSError, BackendError)):
            backend.write(operation, deadline(), _BrokenContent)
        owner = ArtifactOwner(kind="run", id=run_id)
        with pytest.raises(NotFoundError):
            backend.tracking.tracking_download_artifact(
                owner, "broken.bin", tmp_path / "broken.bin", deadline()
            )


def _store(backend: OpenBackend, run_id: str, path: str, content: bytes) -> None:
    operation, open_content = file_of(run_id, path, content)
    backend.write(operation, deadline(), open_content)


class _BrokenContent(io.BytesIO):
    """Content whose second half cannot be read."""

    def __init__(self) -> None:
        super().__init__(b"x" * 300_000)

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() or size is None or size < 0:
            raise OSError("the disk is gone")
        return super().read(min(size, 65_536))
