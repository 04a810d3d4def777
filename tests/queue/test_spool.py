"""What is in the spool of this machine is part of the queue."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.engine import make_url

from hokusai_core import StillNeededError
from tests.queue.conftest import Job
from tests.support.tcp_gate import TcpGate


@pytest.fixture
def gate(postgres_url: str) -> Iterator[TcpGate]:
    url = make_url(postgres_url)
    with TcpGate(str(url.query.get("host", url.host or "127.0.0.1")), url.port or 5432) as gate:
        yield gate


@pytest.fixture
def gated_url(postgres_url: str, gate: TcpGate) -> str:
    gated = make_url(postgres_url).set(host="127.0.0.1", port=gate.port, query={})
    return gated.render_as_string(hide_password=False)


def test_the_spool_is_listed_discarded_and_moved(
    make_job: Callable[..., Job], gated_url: str, gate: TcpGate
) -> None:
    old, new = make_job(gated_url), make_job(gated_url)
    run = old.manager.start_run(run_name="direct")
    old.mock.down()
    gate.shut()
    run.log_metric("loss", 0.5)
    run.log_metric("loss", 0.25, step=1)
    gate.open()
    first, second = old.queue.entries(("waiting",))
    assert (first.place, second.place) == ("spool", "spool")
    assert old.queue.show(second.op_id).place == "spool"
    assert old.queue.waiting() == {old.queue.destination: 2}
    assert old.queue.discard([first.op_id]) == 1
    assert new.queue.move(old.queue.destination) == 2
    assert old.queue.entries(("waiting",), destination=old.queue.destination) == ()
    (moved,) = new.queue.entries(("waiting",))
    assert (moved.op_id, moved.destination) == (second.op_id, new.queue.destination)


def test_what_the_spool_holds_needs_what_the_journal_holds(
    make_job: Callable[..., Job], gated_url: str, gate: TcpGate
) -> None:
    job = make_job(gated_url)
    job.mock.down()
    run = job.manager.start_run()
    gate.shut()
    run.set_tag("stage", "first")
    run.end()
    gate.open()
    (creation,) = (each for each in job.queue.entries(("waiting",)) if each.kind == "create_run")
    needing = job.queue.show(creation.op_id).dependents
    assert [(each.kind, each.place) for each in needing] == [
        ("log_batch", "spool"),
        ("update_run", "spool"),
    ]
    with pytest.raises(StillNeededError) as refusal:
        job.queue.discard([creation.op_id])
    assert refusal.value.op_ids == tuple(each.op_id for each in needing)
    assert job.queue.discard([creation.op_id], force=True) == 1 + len(needing)
    assert [each.kind for each in job.queue.entries(("waiting",))] == ["create_experiment"]
