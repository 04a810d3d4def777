"""What aliases point to by what was seen, and by what the journal holds."""

from hokusai_core.entities import ModelVersion, RegisteredModel
from hokusai_core.identifiers import IdKind, new_op_id, provisional_id
from hokusai_core.journal import EntryState, QueuedOperation
from hokusai_core.operations import (
    AnyOperation,
    CreateRegisteredModel,
    DeleteAlias,
    DeleteModelVersion,
    SetAlias,
)
from hokusai_core.seen_aliases import SeenAliases

WAITING = provisional_id(IdKind.VERSION, new_op_id())
KNOWN = {WAITING: "7"}
SEEN = 10.0
EARLIER, LATER = SEEN - 1, SEEN + 1


def entry(
    operation: AnyOperation, state: EntryState = "delivered", settled: float = LATER
) -> QueuedOperation:
    return QueuedOperation(
        sequence=1,
        op_id=operation.op_id,
        kind=operation.kind,
        stream=operation.stream,
        destination="d",
        state=state,
        stored=operation,
        settled_at=settled,
    )


def move(version: str, created: float = EARLIER) -> SetAlias:
    return SetAlias(name="m", alias="a", version=version, created_at=int(created * 1000))


def seen(**aliases: str) -> SeenAliases:
    made = SeenAliases(lambda identifier: KNOWN.get(identifier, identifier))
    made.saw_model(RegisteredModel(name="m", aliases=aliases), SEEN)
    return made


def test_nothing_is_known_of_what_nobody_saw() -> None:
    nothing = SeenAliases(KNOWN.get)
    assert nothing.known("m", ()).target("a") is None
    assert nothing.known("m", [entry(move("1"))]).target("a") == "1"
    assert nothing.known("m", [entry(move("1"))]).target("b") is None
    assert nothing.known("m", [entry(move("1"), "dead")]).target("a") is None
    creation = CreateRegisteredModel(name="m")
    assert nothing.known("m", [entry(creation)]).target("a") is None
    assert nothing.known("m", [entry(creation, "waiting")]).target("a") == ""
    assert nothing.known("other", [entry(creation, "waiting")]).target("a") is None


def test_what_came_later_than_the_sight_counts() -> None:
    earlier = entry(move("2"), settled=EARLIER)
    assert seen(a="1").known("m", [earlier]).target("a") == "1"
    assert seen(a="1").known("m", [entry(move("2"))]).target("a") == "2"
    assert seen(a="1").known("m", [entry(move("2"), "waiting")]).target("a") == "2"
    assert seen(a="1").known("m", ()).target("b") == ""
    # The journal's clock may be behind that of the process that has just written.
    behind = entry(move("2", created=LATER), settled=EARLIER)
    assert seen(a="1").known("m", [behind]).target("a") == "2"
    gone = DeleteAlias(name="m", alias="a", created_at=int(LATER * 1000))
    assert seen(a="1").known("m", [entry(gone)]).target("a") == ""


def test_a_deleted_version_takes_its_aliases_along_under_either_id() -> None:
    for version in (WAITING, "7"):
        for pointing in (WAITING, "7"):
            deletion = DeleteModelVersion(name="m", version=version)
            entries = [entry(move(pointing)), entry(deletion)]
            assert seen(a="1").known("m", entries).target("a") == ""
            assert seen(a="1").known("m", entries[:1]).of_version({"7"}) == ("a",)


def test_a_version_tells_of_its_own_aliases() -> None:
    aliases = seen(a="1", b="1")
    aliases.saw_version(ModelVersion(name="m", version="1", aliases=("b",)), LATER)
    known = aliases.known("m", [entry(move("3"), settled=SEEN)])
    assert (known.target("a"), known.target("b"), known.target("c")) == (None, "1", "")
    assert known.pointing() == {"b": "1"}
    aliases.saw_version(ModelVersion(name="m", version="2", aliases=("a", "b")), LATER)
    assert aliases.known("m", ()).of_version({"2"}) == ("a", "b")
    aliases.saw_version(ModelVersion(name="other", version="2", aliases=("a",)), LATER)
    assert aliases.known("other", ()).target("a") == "2"
    assert aliases.known("other", ()).target("b") is None


def test_the_models_that_were_seen_longest_ago_are_forgotten() -> None:
    aliases = seen(a="1")
    for number in range(1000):
        model = RegisteredModel(name=f"model {number}", aliases={"a": "1"})
        aliases.saw_model(model, SEEN)
    assert aliases.known("m", ()).target("a") is None
    assert aliases.known("model 0", ()).target("a") == "1"
