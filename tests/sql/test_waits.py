"""What holds an operation back, and what lets it go."""

import hashlib
from collections.abc import Callable
from unittest.mock import DEFAULT, Mock

import pytest
from sqlalchemy import update

from hokusai_backend_sql import claims
from hokusai_backend_sql.engine import Database
from hokusai_backend_sql.journal_schema import operation_keys
from hokusai_backend_sql.keys import stored_key
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import Entry, EntryQuery, Release
from hokusai_core.operations import (
    ArtifactOwner,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRegisteredModel,
    CreateRun,
    FinalizeLoggedModel,
    LogArtifact,
    SetAlias,
    SetRegisteredModelTags,
    UpdateRun,
)
from tests.sql.queueing import (
    HERE,
    append,
    claim,
    create_run,
    dead,
    delivered,
    log_metric,
    nothing_due,
    op_ids,
)

TimePasses = Callable[[float], None]


def log_artifact(run_id: str, path: str = "a/b.txt", model_id: str = "") -> LogArtifact:
    owner = ArtifactOwner(kind="model", id=model_id) if model_id else None
    return LogArtifact(
        run_id=run_id,
        owner=owner or ArtifactOwner(kind="run", id=run_id),
        path=path,
        size=0,
        sha256=hashlib.sha256(b"").hexdigest(),
    )


def version(source: str = "s3://bucket/model", run_id: str | None = None) -> CreateModelVersion:
    return CreateModelVersion(name="m", source=source, run_id=run_id)


def waiting_for(journal: Journal) -> dict[str, str]:
    return {each.stream: each.waiting_for for each in journal.journal_backlog("").streams}


def test_another_stream_waits_for_the_creation_and_is_woken_by_it(journal: Journal) -> None:
    run = create_run()
    artifact = log_artifact(run.provisional_id or "")
    append(journal, run, artifact)
    creation = claim(journal)
    assert op_ids(creation) == [run.op_id]
    assert nothing_due(journal)
    assert waiting_for(journal)[artifact.stream] == f"id/{run.provisional_id}"
    journal.journal_settle(creation, (delivered(run, "r1"),))
    assert op_ids(claim(journal)) == [artifact.op_id]


def test_a_stream_hands_out_a_creation_with_what_follows_it(journal: Journal) -> None:
    run = create_run()
    metric = log_metric(run.provisional_id or "")
    append(journal, run, metric)
    assert op_ids(claim(journal)) == [run.op_id, metric.op_id]


def test_a_dead_creation_holds_its_stream_and_a_retry_lets_it_go(journal: Journal) -> None:
    run = create_run()
    metric = log_metric(run.provisional_id or "")
    append(journal, run, metric)
    creation = claim(journal, late_effect_seconds=0)
    journal.journal_settle(creation, (dead(run, "no such experiment"),))
    journal.journal_release(creation, Release(untouched=(metric.op_id,)))
    assert nothing_due(journal)
    append(journal, later := log_metric(run.provisional_id or "", 2))
    assert nothing_due(journal)
    (letter,) = journal.journal_read(EntryQuery(states=("dead",)))
    assert (letter.op_id, letter.error, letter.operation) == (run.op_id, "no such experiment", run)
    assert journal.journal_retry((run.op_id, metric.op_id, "0" * 32)) == 1
    assert journal.journal_backlog("").dead == 0
    assert op_ids(claim(journal)) == [run.op_id, metric.op_id, later.op_id]


def test_discarding_a_dead_creation_lets_what_it_held_go(journal: Journal) -> None:
    run = create_run()
    artifact = log_artifact(run.provisional_id or "")
    append(journal, run, artifact)
    creation = claim(journal)
    journal.journal_settle(creation, (dead(run),))
    journal.journal_release(creation, Release())
    assert nothing_due(journal)
    assert journal.journal_discard((run.op_id, "0" * 32)) == 1
    assert op_ids(claim(journal)) == [artifact.op_id]
    assert journal.journal_backlog("").dead == 0
    assert journal.journal_discard((run.op_id,)) == 0


def test_any_other_dead_letter_holds_back_only_what_requires_it(journal: Journal) -> None:
    metrics = [log_metric("a", value) for value in range(2)]
    append(journal, *metrics)
    claimed = claim(journal)
    journal.journal_settle(claimed, (dead(metrics[0]),))
    journal.journal_release(claimed, Release())
    assert op_ids(claim(journal)) == [metrics[1].op_id]


def test_a_final_status_waits_for_artifacts_but_not_for_dead_ones(journal: Journal) -> None:
    artifact, end = log_artifact("a"), UpdateRun(run_id="a", status="FINISHED")
    append(journal, artifact, end)
    files = claim(journal)
    assert op_ids(files) == [artifact.op_id]
    assert nothing_due(journal)
    journal.journal_settle(files, (dead(artifact),))
    assert op_ids(claim(journal)) == [end.op_id]


def test_a_status_that_is_not_final_does_not_wait(journal: Journal) -> None:
    append(journal, log_artifact("a"), running := UpdateRun(run_id="a", status="RUNNING"))
    claim(journal)
    assert op_ids(claim(journal)) == [running.op_id]


def test_the_batch_ends_before_the_first_that_is_held_back(journal: Journal) -> None:
    metric, end = log_metric("a"), UpdateRun(run_id="a", status="FINISHED")
    append(journal, log_artifact("a"), metric, end)
    assert len(claim(journal).operations) == 1
    assert op_ids(claim(journal)) == [metric.op_id]


def test_a_version_waits_for_its_model_and_no_version_for_another(journal: Journal) -> None:
    model, versions = CreateRegisteredModel(name="m"), [version(), version()]
    alias = SetAlias(name="m", alias="best", version=versions[0].provisional_id or "")
    append(journal, model, *versions, alias)
    registered = claim(journal)
    assert op_ids(registered) == [model.op_id]
    assert nothing_due(journal)
    journal.journal_settle(registered, (delivered(model),))
    journal.journal_release(registered, Release())
    first, second = claim(journal), claim(journal)
    assert {*op_ids(first), *op_ids(second)} == {each.op_id for each in versions}
    assert nothing_due(journal)
    for claimed in (first, second):
        (queued,) = claimed.operations
        assert queued.operation is not None
        journal.journal_settle(claimed, (delivered(queued.operation, "1"),))
    assert op_ids(claim(journal)) == [alias.op_id]


def test_a_version_waits_for_the_files_that_its_source_names(journal: Journal) -> None:
    artifact = log_artifact("a", "model/weights.bin")
    held = version("runs:/a/model", "a")
    other = version("runs:/a/other", "a")
    append(journal, artifact, held, other)
    files = claim(journal)
    assert op_ids(claim(journal)) == [other.op_id]
    assert nothing_due(journal)
    assert waiting_for(journal)[held.stream] == "file/run/a/model"
    journal.journal_settle(files, (delivered(artifact),))
    assert op_ids(claim(journal)) == [held.op_id]


LONG_FOLDER = "/".join(
    "".join(chr(0x4E00 + 61 * row + each) for each in range(60)) for row in range(8)
)
LONG_PATH = f"{LONG_FOLDER}/{LONG_FOLDER[::-1]}"
"""975 characters of three bytes each, with a folder of 487: more than PostgreSQL takes in an index."""


@pytest.mark.parametrize("path", [LONG_FOLDER, LONG_PATH], ids=["folder", "path"])
def test_a_long_path_holds_back_what_requires_it(journal: Journal, path: str) -> None:
    artifact = log_artifact("a", LONG_PATH)
    held = version(f"runs:/a/{path}", "a")
    append(journal, artifact)
    append(journal, held)
    files = claim(journal)
    assert nothing_due(journal)
    assert waiting_for(journal)[held.stream].startswith(f"file/run/a/{path[:50]}")
    (found,) = journal.journal_read(EntryQuery(requires=(f"file/run/a/{path}",)))
    assert found.op_id == held.op_id
    journal.journal_settle(files, (delivered(artifact),))
    assert op_ids(claim(journal)) == [held.op_id]


def test_a_single_entry_waits_for_a_long_key(journal: Journal) -> None:
    """It goes by the intake."""
    model = CreateRegisteredModel(name="模" * 400)
    append(journal, model)
    creation = claim(journal)
    journal.journal_settle(creation, (dead(model),))
    journal.journal_release(creation, Release())
    tags = SetRegisteredModelTags(name=model.name, tags={"a": "b"})
    entry = Entry(operation=tags, destination=HERE, fresh=True)
    assert entry.plain
    journal.journal_append((entry,), None)
    assert nothing_due(journal)
    assert waiting_for(journal)[tags.stream].startswith("registered/模模")


def test_a_long_key_of_an_older_release_is_found(journal: Journal, database: Database) -> None:
    """It was stored as it was, where the index took it."""
    artifact = log_artifact("a", f"{LONG_FOLDER}/file")
    append(journal, artifact)
    key = f"file/run/a/{LONG_FOLDER}"
    with database.begin() as connection:
        connection.execute(
            update(operation_keys).where(operation_keys.c.key == stored_key(key)).values(key=key)
        )
    append(journal, held := version(f"runs:/a/{LONG_FOLDER}", "a"))
    assert op_ids(claim(journal)) == [artifact.op_id]
    assert nothing_due(journal)
    assert waiting_for(journal)[held.stream] == key


def test_a_logged_model_is_complete_after_all_of_its_files(journal: Journal) -> None:
    model = CreateLoggedModel(run_id="a", experiment_id="0", name="model")
    model_id = model.provisional_id or ""
    files = [log_artifact("a", path, model_id) for path in ("MLmodel", "data/weights.bin")]
    final = FinalizeLoggedModel(run_id="a", model_id=model_id)
    registered = CreateModelVersion(
        name="m", source=f"models:/{model_id}", run_id="a", model_id=model_id
    )
    append(journal, model, *files, final, registered)
    claimed = claim(journal)
    assert op_ids(claimed) == [model.op_id, *(each.op_id for each in files), final.op_id]
    assert nothing_due(journal)
    settled = (delivered(model, "m-1"), delivered(files[0]), dead(files[1]))
    journal.journal_settle(claimed, settled)
    journal.journal_release(claimed, Release())
    assert nothing_due(journal)
    assert waiting_for(journal)[final.stream] == f"file/model/{model_id}/"
    assert waiting_for(journal)[registered.stream] == f"ready/{model_id}"
    assert journal.journal_retry((files[1].op_id,)) == 1
    again = claim(journal)
    assert op_ids(again) == [files[1].op_id, final.op_id]
    journal.journal_settle(again, (delivered(files[1]), delivered(final)))
    assert op_ids(claim(journal)) == [registered.op_id]


def test_only_earlier_entries_of_the_same_destination_hold_back(journal: Journal) -> None:
    held, model = version(), CreateRegisteredModel(name="m")
    append(journal, held)
    append(journal, model)
    assert op_ids(claim(journal)) == [held.op_id]
    append(journal, elsewhere := version(), destination="http://there")
    assert op_ids(claim(journal, destination="http://there")) == [elsewhere.op_id]


def test_ids_that_this_journal_does_not_know_hold_nothing_back(journal: Journal) -> None:
    append(journal, metric := log_metric("hokusai-run-" + "1" * 32))
    assert op_ids(claim(journal)) == [metric.op_id]


def test_forwarding_ignores_waits(journal: Journal) -> None:
    run = create_run()
    artifact = log_artifact(run.provisional_id or "")
    append(journal, run, artifact)
    taken = [claim(journal, ignore_waits=True) for _ in range(2)]
    assert [op_ids(each) for each in taken] == [[run.op_id], [artifact.op_id]]


def test_a_stream_that_is_held_back_is_looked_at_again_later_and_later(
    journal: Journal, time_passes: TimePasses
) -> None:
    run = create_run()
    artifact = log_artifact(run.provisional_id or "")
    append(journal, run, artifact)
    claim(journal, lease_seconds=3600)
    pauses = []
    for _ in range(8):
        assert nothing_due(journal)
        backlog = journal.journal_backlog("")
        (held,) = (each for each in backlog.streams if each.stream == artifact.stream)
        pauses.append(held.next_attempt_at - backlog.now)
        time_passes(5.1)
    assert pauses[0] <= 0.1
    assert pauses[3] > pauses[0]
    assert pauses[-1] == pytest.approx(5, abs=1)


def due_in(journal: Journal, stream: str) -> float:
    backlog = journal.journal_backlog("")
    (listed,) = (each for each in backlog.streams if each.stream == stream)
    return listed.next_attempt_at - backlog.now


@pytest.mark.parametrize("decision", ["retry", "discard"])
def test_what_a_dead_letter_holds_back_is_left_alone_until_somebody_decides(
    journal: Journal, decision: str
) -> None:
    """Thousands of such streams would keep the workers busy for nothing."""
    run = create_run()
    artifact = log_artifact(run.provisional_id or "")
    metric = log_metric(run.provisional_id or "")
    append(journal, run, artifact, metric)
    creation = claim(journal, late_effect_seconds=0)
    journal.journal_settle(creation, (dead(run),))
    journal.journal_release(creation, Release(untouched=(metric.op_id,)))
    assert nothing_due(journal)
    for held in (artifact.stream, metric.stream):
        assert due_in(journal, held) > 30
        assert waiting_for(journal)[held] == f"id/{run.provisional_id}"
    if decision == "discard":
        assert journal.journal_discard((run.op_id,)) == 1
        assert {claim(journal).stream, claim(journal).stream} == {artifact.stream, metric.stream}
    else:
        assert journal.journal_retry((run.op_id,)) == 1
        again = claim(journal)
        assert op_ids(again) == [run.op_id, metric.op_id]
        assert nothing_due(journal)
        journal.journal_settle(again, (delivered(run, "r1"), delivered(metric)))
        assert op_ids(claim(journal)) == [artifact.op_id]


def test_a_claim_looks_once_at_what_was_due(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends although the streams that are held back fall due again while it looks."""
    monkeypatch.setattr(claims, "_FIRST_HOLD", 1e-6)
    monkeypatch.setattr(claims, "_LONGEST_HOLD", 1e-6)
    monkeypatch.setattr(claims, "_hold", hold := Mock(wraps=claims._hold))
    hold.side_effect = [DEFAULT] * 100
    run = create_run()
    append(journal, run)
    claim(journal)
    tags = {"mlflow.parentRunId": run.provisional_id or ""}
    children = [
        CreateRun(experiment_id="0", run_name="child", start_time=1, tags=tags) for _ in range(30)
    ]
    append(journal, *children)
    assert nothing_due(journal)
    assert hold.call_count == 30


def test_a_wake_does_not_shorten_the_pause_after_a_failure(journal: Journal) -> None:
    run = create_run()
    artifact = log_artifact(run.provisional_id or "")
    append(journal, run, artifact)
    creation = claim(journal)
    early = claim(journal, ignore_waits=True)
    journal.journal_release(early, Release(retry_in=60))
    journal.journal_settle(creation, (delivered(run, "r1"),))
    assert nothing_due(journal)


def test_an_ambiguous_creation_waits_out_the_late_effects_of_a_lost_worker(
    journal: Journal, time_passes: TimePasses
) -> None:
    append(journal, run := create_run())
    claim(journal, lease_seconds=30, late_effect_seconds=60)
    time_passes(31)
    assert nothing_due(journal)
    time_passes(60)
    again = claim(journal)
    assert op_ids(again) == [run.op_id]
    assert again.operations[0].maybe_applied


def test_what_is_found_by_name_does_not_wait_for_late_effects(
    journal: Journal, time_passes: TimePasses
) -> None:
    append(journal, model := CreateRegisteredModel(name="m"))
    claim(journal, lease_seconds=30)
    time_passes(31)
    assert op_ids(claim(journal)) == [model.op_id]


def test_the_window_moves_with_the_lease(journal: Journal, time_passes: TimePasses) -> None:
    run, metric = create_run(), log_metric("other")
    append(journal, run)
    claimed = claim(journal, lease_seconds=30, late_effect_seconds=60)
    time_passes(20)
    journal.journal_renew(claimed)
    time_passes(31)
    assert nothing_due(journal)
    time_passes(50)
    assert nothing_due(journal)
    journal.journal_settle(claimed, (delivered(metric),))
    time_passes(85)
    assert nothing_due(journal)
    time_passes(6)
    assert claim(journal).fence == claimed.fence + 1


def test_an_untouched_creation_is_due_at_once(journal: Journal) -> None:
    append(journal, run := create_run())
    journal.journal_release(claim(journal), Release(untouched=(run.op_id,)))
    again = claim(journal)
    assert not again.operations[0].maybe_applied
    journal.journal_release(again, Release(attempted=(run.op_id,)))
    assert nothing_due(journal)


def test_an_attempted_creation_waits_from_the_release(
    journal: Journal, time_passes: TimePasses
) -> None:
    append(journal, run := create_run())
    claimed = claim(journal, lease_seconds=600, late_effect_seconds=60)
    journal.journal_release(claimed, Release(attempted=(run.op_id,), error="timed out"))
    time_passes(59)
    assert nothing_due(journal)
    time_passes(2)
    assert claim(journal).operations[0].attempts == 1


def test_an_entry_waits_as_long_as_its_append_says(
    journal: Journal, time_passes: TimePasses
) -> None:
    run = create_run()
    entry = Entry(operation=run, destination="http://here", maybe_applied=True, not_before=60)
    journal.journal_append((entry,), None)
    append(journal, metric := log_metric(run.provisional_id or ""))
    assert nothing_due(journal)
    time_passes(61)
    claimed = claim(journal)
    assert op_ids(claimed) == [run.op_id, metric.op_id]
    assert [each.maybe_applied for each in claimed.operations] == [True, False]
