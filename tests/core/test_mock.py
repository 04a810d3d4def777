"""The mock backend fails as it is told, and the journal in memory, too."""

import io
import subprocess
import sys
import threading

import pytest

from hokusai_core.backends import OpenBackend, open_backend
from hokusai_core.clock import Deadline
from hokusai_core.errors import (
    JournalUnavailableError,
    NotFoundError,
    RateLimitedError,
    RejectedError,
    TransientError,
    UnavailableError,
)
from hokusai_core.identifiers import new_op_id
from hokusai_core.journal import ClaimRequest, Entry, Release, Settlement
from hokusai_core.operations import (
    ArtifactOwner,
    CreateExperiment,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRegisteredModel,
    LogBatch,
    Operation,
)
from hokusai_core.plugins import BackendConfig
from hokusai_core.settings import Settings
from hokusai_core.testing import MemoryJournal, MockBackend
from hokusai_core.testing.contracts.samples import file_of, new_run


@pytest.fixture
def mock() -> MockBackend:
    return MockBackend()


@pytest.fixture
def backend(mock: MockBackend) -> OpenBackend:
    return open_backend(mock.plugin, BackendConfig(Settings.load()))


def write(backend: OpenBackend, operation: Operation) -> str:
    return backend.write(operation, Deadline(5)).primary_id


def experiment(name: str = "e") -> CreateExperiment:
    return CreateExperiment(name=name)


def names(mock: MockBackend) -> list[str]:
    found = (mock.store.find_experiments(name) for name in ("a", "b", "c"))
    return [each[0].name for each in found if each]


def test_its_plugin_opens_this_very_object(mock: MockBackend, backend: OpenBackend) -> None:
    assert backend.implementation is mock
    assert backend.destination == mock.destination
    assert mock.destination != MockBackend().destination


def test_the_entry_point_makes_a_new_one_each_time() -> None:
    opened = [open_backend("mock", BackendConfig(Settings.load())) for _ in range(2)]
    assert opened[0].implementation is not opened[1].implementation
    assert opened[0].destination != opened[1].destination
    assert isinstance(opened[0].implementation, MockBackend)


def test_refused_calls_do_nothing(mock: MockBackend, backend: OpenBackend) -> None:
    mock.refuse(2)
    with pytest.raises(UnavailableError) as caught:
        write(backend, experiment("a"))
    assert (caught.value.maybe_applied, caught.value.fast) == (False, True)
    with pytest.raises(UnavailableError):
        backend.tracking.tracking_check(Deadline(5))
    write(backend, experiment("b"))
    assert names(mock) == ["b"]


def test_time_outs_are_ambiguous(mock: MockBackend, backend: OpenBackend) -> None:
    mock.time_out_before_applying()
    mock.time_out_after_applying()
    for name in ("a", "b"):
        with pytest.raises(UnavailableError) as caught:
            write(backend, experiment(name))
        assert caught.value.maybe_applied
    write(backend, experiment("c"))
    assert names(mock) == ["b", "c"]


def test_a_read_does_not_use_up_a_write_s_failure(mock: MockBackend, backend: OpenBackend) -> None:
    mock.time_out_before_applying()
    assert backend.tracking.tracking_find_experiments("a", Deadline(5)) == ()
    with pytest.raises(UnavailableError):
        write(backend, experiment("a"))


def test_late_effects_land_on_command(mock: MockBackend, backend: OpenBackend) -> None:
    mock.delay_effect(2)
    for operation in (experiment("a"), LogBatch(run_id=new_op_id())):
        with pytest.raises(UnavailableError) as caught:
            write(backend, operation)
        assert caught.value.maybe_applied
    assert names(mock) == []
    assert mock.land_late_effects() == 1
    assert names(mock) == ["a"]
    assert mock.land_late_effects() == 0


def test_late_files_keep_their_bytes(mock: MockBackend, backend: OpenBackend) -> None:
    run_id = write(backend, new_run(write(backend, experiment())))
    operation, _ = file_of(run_id, "a.txt", b"abc")
    stream = io.BytesIO(b"abc")
    mock.delay_effect()
    with pytest.raises(UnavailableError):
        backend.write(operation, Deadline(5), lambda: stream)
    assert stream.closed
    mock.land_late_effects()
    with mock.store.open_artifact(ArtifactOwner(kind="run", id=run_id), "a.txt") as content:
        assert content.read() == b"abc"


def test_an_outage_lasts_until_told(mock: MockBackend, backend: OpenBackend) -> None:
    mock.down()
    for _ in range(3):
        with pytest.raises(UnavailableError):
            write(backend, experiment("a"))
    mock.up()
    write(backend, experiment("a"))
    assert names(mock) == ["a"]


def test_any_error_can_be_told(mock: MockBackend, backend: OpenBackend) -> None:
    mock.fail_next(RateLimitedError("slow down", retry_after=3.0))
    with pytest.raises(RateLimitedError, match="slow down"):
        write(backend, experiment("a"))
    assert names(mock) == []


def test_a_kind_is_rejected_until_accepted(mock: MockBackend, backend: OpenBackend) -> None:
    mock.reject("create_experiment", RejectedError("no experiments today"))
    for _ in range(2):
        with pytest.raises(RejectedError, match="today"):
            write(backend, experiment("a"))
    write(backend, CreateRegisteredModel(name="m"))
    mock.accept("create_experiment")
    write(backend, experiment("a"))


def test_calls_are_counted(mock: MockBackend, backend: OpenBackend) -> None:
    operation = experiment()
    mock.refuse()
    with pytest.raises(TransientError):
        write(backend, operation)
    write(backend, operation)
    backend.tracking.tracking_check(Deadline(5))
    attempt = ("tracking_create_experiment", operation.op_id)
    assert mock.calls == [attempt, attempt, ("tracking_check", "")]


def test_failures_are_shared_by_threads(mock: MockBackend, backend: OpenBackend) -> None:
    mock.refuse(20)
    refused = []

    def work() -> None:
        for _ in range(20):
            try:
                write(backend, experiment())
            except UnavailableError as error:
                refused.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(refused), len(mock.calls)) == (20, 80)


@pytest.mark.parametrize("kind", ["run", "model"])
def test_a_version_s_files_are_downloaded(
    mock: MockBackend, backend: OpenBackend, tmp_path, kind: str
) -> None:
    experiment_id = write(backend, experiment())
    run_id = write(backend, new_run(experiment_id))
    owner, folder, source = ArtifactOwner(kind="run", id=run_id), "model/", f"runs:/{run_id}/model"
    if kind == "model":
        creation = CreateLoggedModel(run_id=run_id, experiment_id=experiment_id, name="model")
        owner = ArtifactOwner(kind="model", id=write(backend, creation))
        folder, source = "", f"models:/{owner.id}"
    for path in ("MLmodel", "data/weights.bin"):
        operation, content = file_of(run_id, folder + path, path.encode(), owner)
        backend.write(operation, Deadline(5), content)
    write(backend, CreateRegisteredModel(name="m"))
    write(backend, CreateModelVersion(name="m", source=source))
    target = backend.registry.registry_download_model("m", "1", tmp_path / "got", Deadline(5))
    assert (target / "MLmodel").read_text() == "MLmodel"
    assert (target / "data" / "weights.bin").read_text() == "data/weights.bin"
    write(backend, CreateModelVersion(name="m", source="s3://elsewhere/m"))
    with pytest.raises(NotFoundError, match="s3://elsewhere"):
        backend.registry.registry_download_model("m", "2", tmp_path / "none", Deadline(5))


def test_importing_it_needs_no_test_framework() -> None:
    program = (
        "import sys, hokusai_core.testing; "
        "print(sorted({'pytest', 'hypothesis', 'mlflow', 'sqlalchemy'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


# The journal in memory


class WallClock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


@pytest.fixture
def journal(clock: WallClock) -> MemoryJournal:
    return MemoryJournal(now=clock)


def append(journal: MemoryJournal, operation: Operation, **fields: object) -> int:
    values = {"operation": operation, "destination": "d"} | fields
    return journal.journal_append((Entry(**values),), None)


REQUEST = ClaimRequest(destination="d", worker="w", lease_seconds=30, late_effect_seconds=60)


def test_a_journal_that_is_down_says_so(journal: MemoryJournal) -> None:
    journal.down()
    with pytest.raises(JournalUnavailableError) as caught:
        append(journal, experiment())
    assert not caught.value.maybe_applied
    journal.up()
    assert append(journal, experiment()) == 1


def test_a_lost_answer_hides_a_commit(journal: MemoryJournal) -> None:
    operation = experiment()
    journal.lose_commit_answer(hook="journal_append")
    assert journal.journal_claim(REQUEST) == ()
    with pytest.raises(JournalUnavailableError) as caught:
        append(journal, operation)
    assert caught.value.maybe_applied
    assert append(journal, operation) == 0
    assert journal.journal_claim(REQUEST)


def test_a_vanished_worker_s_creation_waits_for_lease_and_window(
    journal: MemoryJournal, clock: WallClock
) -> None:
    run = new_run("1")
    append(journal, run)
    assert journal.journal_claim(REQUEST)
    clock.now += 30 + 59
    assert journal.journal_claim(REQUEST) == ()
    clock.now += 1
    (claim,) = journal.journal_claim(REQUEST)
    assert claim.operations[0].maybe_applied
    clock.now += 20
    journal.journal_renew(claim)
    clock.now += 30 + 59
    assert journal.journal_claim(REQUEST) == ()
    clock.now += 1
    assert journal.journal_claim(REQUEST)


def test_times_of_an_entry_are_the_journal_s_own(journal: MemoryJournal, clock: WallClock) -> None:
    append(journal, new_run("1"), not_before=10, maybe_applied=True)
    assert journal.journal_claim(REQUEST) == ()
    (listed,) = journal.journal_backlog("d").streams
    assert (listed.oldest_at, listed.next_attempt_at) == (clock.now, clock.now + 10)
    clock.now += 10
    (claim,) = journal.journal_claim(REQUEST)
    journal.journal_release(claim, Release(untouched=(claim.operations[0].op_id,), retry_in=5))
    assert journal.journal_claim(REQUEST) == ()
    clock.now += 5
    assert journal.journal_claim(REQUEST)


def test_what_becomes_true_wakes_a_released_stream(journal: MemoryJournal) -> None:
    version = CreateModelVersion(name="m", source="s3://b/m")
    append(journal, version)
    (waiting,) = journal.journal_claim(REQUEST)
    model = CreateRegisteredModel(name="m")
    append(journal, model)
    release = Release(retry_in=600, waiting_for="registered/m", untouched=(version.op_id,))
    journal.journal_release(waiting, release)
    assert journal.journal_backlog("d").streams[0].waiting_for == "registered/m"
    (claim,) = journal.journal_claim(REQUEST)
    assert claim.stream == "model/m"
    assert journal.journal_claim(REQUEST) == ()
    delivered = Settlement(op_id=model.op_id, outcome="delivered")
    journal.journal_settle(claim, (delivered,))
    (claim,) = journal.journal_claim(REQUEST)
    assert claim.operations[0].op_id == version.op_id
