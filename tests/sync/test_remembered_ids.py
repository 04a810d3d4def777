"""A worker's memory of ids is bounded, and an operation never goes out with an id half exchanged."""

import pytest

from hokusai_core import primary_lookups
from hokusai_core.clock import Deadline
from hokusai_core.identifiers import IdKind, new_op_id, provisional_id
from hokusai_core.operations import CreateModelVersion
from tests.sync.test_worker import Bench

FEW = 3


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(primary_lookups, "_REMEMBERED_IDS", FEW)
    return Bench()


def version_of(first: str, second: str) -> CreateModelVersion:
    return CreateModelVersion(
        name="m", source=f"runs:/{first}/model", run_id=first, tags={"mlflow_run_id": second}
    )


def test_an_id_that_is_looked_up_displaces_none_of_its_own_operation(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (provisional_id(IdKind.RUN, new_op_id()) for _ in range(2))
    lookups = bench.worker._lookups

    def find(_op_id: str, _deadline: Deadline) -> tuple[str, ...]:
        return ("second-there",)

    monkeypatch.setattr(bench.primary.tracking, "tracking_find_by_op_id", find)
    lookups.learn(first, "first-there")
    for number in range(FEW - 1):
        lookups.learn(f"other {number}", "there")
    sent = lookups.resolved(version_of(first, second))
    assert isinstance(sent, CreateModelVersion)
    assert (sent.source, sent.run_id) == ("runs:/first-there/model", "first-there")
    assert sent.tags["mlflow_run_id"] == "second-there"
    assert {first, second} <= lookups.ids.keys()
    assert len(lookups.ids) == FEW


def test_what_was_needed_last_is_remembered(bench: Bench) -> None:
    lookups = bench.worker._lookups
    for number in range(FEW + 2):
        lookups.learn(str(number), "there")
    assert list(lookups.ids) == ["2", "3", "4"]
