"""Tracking backends that each break one clause. Each is the mock, or its store, with one defect."""

import dataclasses
import itertools
import threading
import time

from hokusai_core.entities import BackendHealth, Experiment, Metric, Page, Receipt, Run
from hokusai_core.errors import NotFoundError
from hokusai_core.hookspecs import OpenContent
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.markers import hookimpl
from hokusai_core.memory import MemoryStore
from hokusai_core.operations import (
    ArtifactOwner,
    CreateExperiment,
    CreateLoggedModel,
    CreateRun,
    FinalizeLoggedModel,
    LogArtifact,
    LogBatch,
    MetricPoint,
    UpdateRun,
)
from hokusai_core.queries import RunQuery
from hokusai_core.testing import MockBackend
from tests.kit.broken import breaks


@breaks("tracking.check")
class SaysNothing(MockBackend):
    @hookimpl
    def tracking_check(self, deadline):
        return BackendHealth(description="")


@breaks("tracking.experiment-once")
class MakesAnExperimentAgain(MemoryStore):
    def create_experiment(self, operation: CreateExperiment) -> Receipt:
        number = str(len(self._experiments) + 1)
        self._experiments[number] = Experiment(
            experiment_id=number, name=operation.name, tags=operation.tags
        )
        return Receipt(primary_id=number)


@breaks("tracking.experiment-once")
class ForgetsTagsOfExperiments(MemoryStore):
    def create_experiment(self, operation: CreateExperiment) -> Receipt:
        return super().create_experiment(operation.model_copy(update={"tags": {}}))


@breaks("tracking.find-experiment")
class FindsNoExperiment(MemoryStore):
    def find_experiments(self, name: str) -> tuple[Experiment, ...]:
        return () if "'" in name else super().find_experiments(name)


@breaks("tracking.unknown")
class SwallowsErrors(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        try:
            return super().log_batch(operation)
        except NotFoundError:
            return Receipt()


@breaks("tracking.unknown")
class MakesRunsUp(MemoryStore):
    def get_run(self, run_id: str) -> Run:
        self._runs.setdefault(run_id, next(iter(self._runs.values()), None))
        try:
            return super().get_run(run_id)
        except AttributeError:
            return Run.model_validate({"info": {"run_id": run_id, "experiment_id": "0"}})


@breaks("tracking.run-whole")
class StartsNow(MemoryStore):
    def create_run(self, operation: CreateRun) -> Receipt:
        now = int(time.time() * 1000)
        return super().create_run(operation.model_copy(update={"start_time": now}))


@breaks("tracking.run-whole")
class ForgetsFirstTags(MemoryStore):
    def create_run(self, operation: CreateRun) -> Receipt:
        return super().create_run(operation.model_copy(update={"tags": {}}))


@breaks("tracking.find-run")
class LosesTheOperationId(MemoryStore):
    def find_runs(self, op_id: str) -> tuple[Run, ...]:
        return ()


@breaks("tracking.find-run")
class FindsOneOfTwo(MemoryStore):
    def find_runs(self, op_id: str) -> tuple[Run, ...]:
        return super().find_runs(op_id)[:1]


@breaks("tracking.batch-repeat")
class KeepsRepeats(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[str, MetricPoint]] = []

    def log_batch(self, operation: LogBatch) -> Receipt:
        self.log += [(operation.run_id, point) for point in operation.metrics]
        return super().log_batch(operation)

    def metric_history(self, run_id: str, key: str) -> tuple[Metric, ...]:
        found = [point for run, point in self.log if run == run_id and point.key == key]
        return tuple(sorted(found, key=lambda point: (point.timestamp, point.step)))


@breaks("tracking.batch-repeat")
class RefusesEqualParams(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        if self._runs[operation.run_id].params.keys() & operation.params.keys():
            raise NotFoundError("The param is there already.")
        return super().log_batch(operation)


@breaks("tracking.latest-metric")
class ShowsTheLastWritten(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        receipt = super().log_batch(operation)
        for point in operation.metrics:
            self._runs[operation.run_id].latest[point.key] = point
        return receipt


@breaks("tracking.history-order")
class OrdersBySteps(MemoryStore):
    def metric_history(self, run_id: str, key: str) -> tuple[Metric, ...]:
        return tuple(sorted(super().metric_history(run_id, key), key=lambda point: point.step))


@breaks("tracking.history-order", "tracking.batch-repeat", "tracking.every-metric")
class ForgetsTimestamps(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        points = tuple(point.model_copy(update={"timestamp": 7}) for point in operation.metrics)
        return super().log_batch(operation.model_copy(update={"metrics": points}))


@breaks("tracking.special-numbers")
class TakesNanForZero(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        points = tuple(
            point if point.value == point.value else point.model_copy(update={"value": 0.0})
            for point in operation.metrics
        )
        return super().log_batch(operation.model_copy(update={"metrics": points}))


@breaks("tracking.special-numbers")
class HasStepsOf32Bits(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        points = tuple(
            point.model_copy(update={"step": max(-(2**31), min(point.step, 2**31 - 1))})
            for point in operation.metrics
        )
        return super().log_batch(operation.model_copy(update={"metrics": points}))


@breaks("tracking.param-once")
class OverwritesParams(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        for key in operation.params:
            self._runs[operation.run_id].params.pop(key, None)
        return super().log_batch(operation)


@breaks("tracking.param-once")
class KeepsTheParamAndSaysNothing(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        params = operation.params | {
            key: value
            for key, value in self._runs[operation.run_id].params.items()
            if key in operation.params
        }
        return super().log_batch(operation.model_copy(update={"params": params}))


@breaks("tracking.last-tag")
class ReordersTags(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        tags = operation.tags | {
            key: value
            for key, value in self._runs[operation.run_id].tags.items()
            if key in operation.tags
        }
        return super().log_batch(operation.model_copy(update={"tags": tags}))


@breaks("tracking.texts")
class StripsTexts(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        params = {key: value.strip() for key, value in operation.params.items()}
        return super().log_batch(operation.model_copy(update={"params": params}))


@breaks("tracking.texts")
class DropsEmptyTags(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        tags = {key: value for key, value in operation.tags.items() if value}
        return super().log_batch(operation.model_copy(update={"tags": tags}))


@breaks("tracking.update-run")
class EndsNow(MemoryStore):
    def update_run(self, operation: UpdateRun) -> Receipt:
        now = int(time.time() * 1000)
        end_time = operation.end_time and now
        return super().update_run(operation.model_copy(update={"end_time": end_time}))


@breaks("tracking.update-run")
class ForgetsTheStatus(MemoryStore):
    def update_run(self, operation: UpdateRun) -> Receipt:
        status = operation.status or "RUNNING"
        return super().update_run(operation.model_copy(update={"status": status}))


@breaks("tracking.search")
class IgnoresFilters(MemoryStore):
    def search_runs(self, query: RunQuery) -> Page[Run]:
        return super().search_runs(query.model_copy(update={"filter_string": ""}))


@breaks("tracking.search")
class IgnoresTheOrder(MemoryStore):
    def search_runs(self, query: RunQuery) -> Page[Run]:
        return super().search_runs(query.model_copy(update={"order_by": ()}))


@breaks("tracking.run-pages")
class HasOnePage(MemoryStore):
    def search_runs(self, query: RunQuery) -> Page[Run]:
        return super().search_runs(query).model_copy(update={"next_page_token": ""})


@breaks("tracking.run-pages")
class PagesOverlap(MemoryStore):
    def search_runs(self, query: RunQuery) -> Page[Run]:
        page = super().search_runs(query)
        token = page.next_page_token and str(int(page.next_page_token) - 1)
        return page.model_copy(update={"next_page_token": token})


@breaks("tracking.artifacts")
class KeepsTheOldFile(MemoryStore):
    def log_artifact(self, operation: LogArtifact, open_content: OpenContent | None) -> Receipt:
        if operation.path in self.artifact_paths(operation.owner):
            return Receipt()
        return super().log_artifact(operation, open_content)


@breaks("tracking.artifacts")
class FlattensFolders(MemoryStore):
    def log_artifact(self, operation: LogArtifact, open_content: OpenContent | None) -> Receipt:
        path = operation.path.rpartition("/")[2]
        return super().log_artifact(operation.model_copy(update={"path": path}), open_content)


@breaks("tracking.logged-model")
class IsNeverReady(MemoryStore):
    def finalize_logged_model(self, operation: FinalizeLoggedModel) -> Receipt:
        return Receipt()


@breaks("tracking.logged-model")
class ForgetsTheNameOfModels(MemoryStore):
    def create_logged_model(self, operation: CreateLoggedModel) -> Receipt:
        return super().create_logged_model(operation.model_copy(update={"name": ""}))


@breaks("tracking.every-metric")
class DropsEveryTenthMetric(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        points = tuple(
            point for number, point in enumerate(operation.metrics, 1) if number % 10 != 0
        )
        return super().log_batch(operation.model_copy(update={"metrics": points}))


@breaks("tracking.every-metric")
class RoundsValues(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        points = tuple(
            point.model_copy(update={"value": round(point.value, 12)})
            for point in operation.metrics
        )
        return super().log_batch(operation.model_copy(update={"metrics": points}))


@breaks("tracking.full-batch")
class TakesFiftyParams(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        params = dict(itertools.islice(operation.params.items(), 50))
        return super().log_batch(operation.model_copy(update={"params": params}))


@breaks("tracking.longest-values")
class AcceptsAnOverlongParam(MemoryStore):
    """Accepts what its column is too short for, and cuts it."""

    def log_batch(self, operation: LogBatch) -> Receipt:
        params = {key: value[:500] for key, value in operation.params.items()}
        return super().log_batch(operation.model_copy(update={"params": params}))


@breaks("tracking.longest-values")
class AcceptsAnOverlongTag(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        tags = {key: value[:5000] for key, value in operation.tags.items()}
        return super().log_batch(operation.model_copy(update={"tags": tags}))


@breaks("tracking.threads")
class LosesWhatComesAtTheSameTime(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._busy = threading.Lock()

    def log_batch(self, operation: LogBatch) -> Receipt:
        if not self._busy.acquire(blocking=False):
            return Receipt()
        try:
            time.sleep(0.005)
            return super().log_batch(operation)
        finally:
            self._busy.release()


@breaks("tracking.runs-apart")
class WritesToEveryRun(MemoryStore):
    def log_batch(self, operation: LogBatch) -> Receipt:
        for run_id in self._runs:
            super().log_batch(operation.model_copy(update={"run_id": run_id}))
        return super().log_batch(operation)


@breaks("tracking.runs-apart")
class EndsEveryRun(MemoryStore):
    def update_run(self, operation: UpdateRun) -> Receipt:
        for run_id in self._runs:
            super().update_run(operation.model_copy(update={"run_id": run_id}))
        return Receipt()


@breaks("tracking.read-after-write")
class AnswersBeforeItStores(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._later: list[LogBatch] = []

    def log_batch(self, operation: LogBatch) -> Receipt:
        for batch in self._later:
            super().log_batch(batch)
        self._later = [operation]
        return Receipt()


@breaks("tracking.cut-creation")
class CreatesInTwoSteps(MockBackend):
    """The run first, its ``op_id`` and tags in a second request."""

    @hookimpl
    def tracking_create_run(self, operation, deadline):
        receipt = self.store.create_run(operation.model_copy(update={"tags": {}}))
        record = self.store._runs[receipt.primary_id]
        del record.tags[OP_ID_TAG]

        def add_tags() -> Receipt:
            record.tags |= operation.tags | {OP_ID_TAG: operation.op_id}
            return receipt

        return self.write(operation.hook, operation.kind, operation.op_id, add_tags)


@breaks("tracking.cut-creation")
class TagsLater(MockBackend):
    """The run with its ``op_id`` first, the tags in a second request."""

    @hookimpl
    def tracking_create_run(self, operation, deadline):
        receipt = self.store.create_run(operation.model_copy(update={"tags": {}}))

        def add_tags() -> Receipt:
            self.store._runs[receipt.primary_id].tags |= operation.tags
            return receipt

        return self.write(operation.hook, operation.kind, operation.op_id, add_tags)


@breaks("tracking.cut-batch")
class TakesARepeatForDone(MockBackend):
    """Notes that it knows an operation before it has carried it out."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[str] = set()

    @hookimpl
    def tracking_log_batch(self, operation, deadline):
        if operation.op_id in self._known:
            return Receipt()
        self._known.add(operation.op_id)
        return super().tracking_log_batch(operation, deadline)


@breaks("tracking.cut-batch")
class RefusesTheRestOfABatch(MockBackend):
    """Stores half of the points at once, and takes the repeat for that half."""

    @hookimpl
    def tracking_log_batch(self, operation, deadline):
        half = operation.model_copy(update={"metrics": operation.metrics[:10]})
        run = self.store._runs[operation.run_id]
        if operation.metrics and operation.metrics[0].key in run.points:
            return self.store.log_batch(half)
        self.store.log_batch(half)
        return super().tracking_log_batch(operation, deadline)


@breaks("tracking.cut-artifact")
class WritesIntoTheOldFile(MockBackend):
    @hookimpl
    def tracking_log_artifact(self, operation, open_content, deadline):
        with open_content() as stream:
            _keep(self.store, operation.owner, operation.path, stream.read(100))
        return super().tracking_log_artifact(operation, open_content, deadline)


@breaks("tracking.content-fails")
class KeepsWhatItCouldRead(MockBackend):
    @hookimpl
    def tracking_log_artifact(self, operation, open_content, deadline):
        content = b""
        with open_content() as stream:
            try:
                while block := stream.read(1000):
                    content += block
            finally:
                _keep(self.store, operation.owner, operation.path, content)
        return Receipt()


def _keep(store: MemoryStore, owner: ArtifactOwner, path: str, content: bytes) -> None:
    files = store._files.setdefault((owner.kind, owner.id), {})
    known = files.get(path)
    if known is not None:
        files[path] = dataclasses.replace(known, size=len(content), content=content)
        return
    from hokusai_core.memory_tracking import _File

    files[path] = _File(len(content), content)
