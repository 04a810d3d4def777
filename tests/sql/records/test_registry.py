import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hokusai_core.errors import (
    InvalidInputError,
    ModelNotFoundError,
    NotFoundError,
    RegistryException,
    RejectedError,
)
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.operations import (
    ArtifactOwner,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRegisteredModel,
    DeleteAlias,
    DeleteModelVersion,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
)
from hokusai_core.queries import ModelQuery, VersionQuery


def _get(primary, version, name="model"):
    return primary.registry.registry_get_model_version(name, version, primary.deadline)


def _model(primary, name="model"):
    return primary.registry.registry_get_registered_model(name, primary.deadline)


def test_a_model_is_created_once_and_keeps_its_first_tags(primary):
    create = CreateRegisteredModel(name="model", description="text", tags={"a": "1"})
    first = primary.write(create)
    again = primary.write(CreateRegisteredModel(name="model", tags={"a": "2"}))
    assert (first.created, again.created) == (True, False)
    model = _model(primary)
    assert (model.name, model.description, model.tags) == ("model", "text", {"a": "1"})
    assert model.creation_timestamp == create.created_at
    primary.write(SetRegisteredModelTags(name="model", tags={"a": "3", "b": "4"}))
    assert _model(primary).tags == {"a": "3", "b": "4"}


def test_versions_count_from_one_for_each_model(primary):
    assert [primary.version("one"), primary.version("one"), primary.version("two")] == list("121")


def test_a_version_has_all_it_was_created_with(primary):
    primary.write(CreateRegisteredModel(name="model"))
    create = CreateModelVersion(
        name="model",
        source="runs:/abc/model",
        run_id="abc",
        description="text",
        tags={"model_type": "x"},
    )
    number = primary.write(create).primary_id
    version = _get(primary, number)
    assert (version.source_uri, version.run_id, version.model_id) == (create.source, "abc", None)
    assert version.description == "text"
    assert version.tags == {"model_type": "x", OP_ID_TAG: create.op_id}
    assert (version.status, version.aliases) == ("READY", ())
    assert version.creation_timestamp == create.created_at
    assert primary.registry.registry_find_versions(create, primary.deadline) == (version,)
    assert primary.registry.registry_find_by_op_id(create.op_id, primary.deadline) == ("1",)


def test_a_repeated_creation_makes_no_other_version(primary):
    primary.write(CreateRegisteredModel(name="model"))
    create = CreateModelVersion(name="model", source="s3://b/m")
    assert primary.write(create).created
    again = primary.write(create)
    assert (again.primary_id, again.created) == ("1", False)
    assert primary.version() == "2"


def test_versions_made_at_once_have_numbers_without_gap_or_repeat(primary):
    primary.write(CreateRegisteredModel(name="model"))
    repeated = CreateModelVersion(name="model", source="s3://b/m")
    operations = [
        *(CreateModelVersion(name="model", source="s3://b/m") for _ in range(4)),
        *[repeated] * 3,
    ]
    barrier = threading.Barrier(len(operations))

    def create(operation):
        barrier.wait()
        return primary.write(operation).primary_id

    with ThreadPoolExecutor(len(operations)) as pool:
        numbers = list(pool.map(create, operations))
    assert len(numbers) == 7
    assert set(numbers) == set("12345")


def test_a_number_is_never_given_twice(primary):
    create = CreateModelVersion(name="model", source="s3://b/m")
    primary.write(CreateRegisteredModel(name="model"))
    primary.write(create)
    primary.write(SetAlias(name="model", alias="champion", version="1"))
    delete = DeleteModelVersion(name="model", version="1")
    primary.write(delete)
    primary.write(delete)
    assert _model(primary).aliases == {}
    with pytest.raises(ModelNotFoundError, match="no version '1'"):
        _get(primary, "1")
    with pytest.raises(ModelNotFoundError):
        primary.registry.registry_get_version_by_alias("model", "champion", primary.deadline)
    assert primary.registry.registry_find_versions(create, primary.deadline) == ()
    assert primary.write(create).primary_id == "1"
    assert primary.version() == "2"


def test_an_alias_moves_and_goes(primary):
    primary.version()
    primary.version()
    for version in ("1", "2", "2"):
        primary.write(SetAlias(name="model", alias="champion", version=version))
    primary.write(SetAlias(name="model", alias="Champion", version="2"))
    assert _model(primary).aliases == {"champion": "2", "Champion": "2"}
    assert _get(primary, "1").aliases == ()
    assert _get(primary, "2").aliases == ("Champion", "champion")
    found = primary.registry.registry_get_version_by_alias("model", "champion", primary.deadline)
    assert found == _get(primary, "2")
    for _ in range(2):
        primary.write(DeleteAlias(name="model", alias="champion"))
    assert _model(primary).aliases == {"Champion": "2"}


@pytest.mark.parametrize(
    "operation",
    [
        CreateModelVersion(name="none", source="s3://b/m"),
        SetRegisteredModelTags(name="none", tags={"a": "b"}),
        SetModelVersionTags(name="none", version="1", tags={"a": "b"}),
        SetModelVersionTags(name="model", version="9", tags={"a": "b"}),
        SetModelVersionTags(name="model", version="9" * 30, tags={"a": "b"}),
        SetAlias(name="none", alias="a", version="1"),
        SetAlias(name="model", alias="a", version="9"),
        SetAlias(name="model", alias="a", version="hokusai-version-" + "0" * 32),
    ],
)
def test_what_is_not_there_cannot_be_changed(primary, operation):
    primary.version()
    with pytest.raises(ModelNotFoundError, match=r"'none'|'9|hokusai-version") as caught:
        primary.write(operation)
    assert isinstance(caught.value, RegistryException)


@pytest.mark.parametrize(
    "operation",
    [
        DeleteModelVersion(name="none", version="1"),
        DeleteModelVersion(name="model", version="9"),
        DeleteAlias(name="none", alias="a"),
        DeleteAlias(name="model", alias="a"),
    ],
)
def test_deleting_what_is_gone_is_a_success(primary, operation):
    primary.version()
    primary.write(operation)
    assert _get(primary, "1").version == "1"


def test_what_is_not_there_cannot_be_read(primary):
    primary.version()
    with pytest.raises(ModelNotFoundError, match="'none'"):
        _model(primary, "none")
    for name, version in (("none", "1"), ("model", "2"), ("model", "x"), ("model", "01")):
        with pytest.raises(ModelNotFoundError):
            _get(primary, version, name)
    for name in ("none", "model"):
        with pytest.raises(ModelNotFoundError, match="no alias"):
            primary.registry.registry_get_version_by_alias(name, "a", primary.deadline)


def test_versions_are_searched_by_name_tags_and_run_newest_first(primary):
    awkward = "it's \"quoted\" % \\ ' OR 1=1 --"
    for number, name in enumerate(["one", "two", "one", "one"]):
        primary.version(
            name,
            run_id=f"run{number}",
            created_at=1000 - (number == 0),
            tags={"id": awkward if number != 1 else "x", "n": str(number)},
        )

    def found(**fields):
        page = primary.registry.registry_search_versions(VersionQuery(**fields), primary.deadline)
        return [(each.name, each.version) for each in page.items]

    assert found() == [("one", "3"), ("one", "2"), ("two", "1"), ("one", "1")]
    assert found(name="one") == [("one", "3"), ("one", "2"), ("one", "1")]
    assert found(tags={"id": awkward}) == found(name="one")
    assert found(tags={"id": awkward, "n": "2"}) == [("one", "2")]
    assert found(tags={"none": "x"}) == found(name="ONE") == found(run_id="run") == []
    assert found(run_id="run1") == [("two", "1")]


def test_pages_of_versions_follow_each_other(primary):
    for name in ("a", "b", "a", "b", "a"):
        primary.version(name, created_at=5)
    everything = primary.registry.registry_search_versions(VersionQuery(), primary.deadline)
    query, found = VersionQuery(max_results=2), []
    while True:
        page = primary.registry.registry_search_versions(query, primary.deadline)
        found.extend(page.items)
        if not page.next_page_token:
            break
        query = query.model_copy(update={"page_token": page.next_page_token})
    assert tuple(found) == everything.items
    assert len(found) == 5


def test_models_are_listed_by_name_and_prefix_in_pages(primary):
    names = ["B", "a", "a%", "a_b", "ab", "é"]
    for name in reversed(names):
        primary.write(CreateRegisteredModel(name=name, tags={"name": name}))

    def found(**fields):
        query, items = ModelQuery(max_results=2, **fields), []
        while True:
            page = primary.registry.registry_search_registered_models(query, primary.deadline)
            items.extend(page.items)
            if not page.next_page_token:
                assert all(item.tags == {"name": item.name} for item in items)
                return [item.name for item in items]
            query = query.model_copy(update={"page_token": page.next_page_token})

    assert found() == names
    assert found(prefix="a") == ["a", "a%", "a_b", "ab"]
    assert found(prefix="a_") == ["a_b"]
    assert found(prefix="A") == []


def test_a_token_of_another_search_is_refused(primary):
    primary.version("a")
    primary.version("b")
    page = primary.registry.registry_search_versions(VersionQuery(max_results=1), primary.deadline)
    query = ModelQuery(page_token=page.next_page_token)
    with pytest.raises(InvalidInputError, match="page token"):
        primary.registry.registry_search_registered_models(query, primary.deadline)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("runs:/{run}/model", {"MLmodel": b"in run", "data/weights": b"w"}),
        ("runs:/{run}/model/", {"MLmodel": b"in run", "data/weights": b"w"}),
        ("runs:/{run}/model/data", {"weights": b"w"}),
        ("runs:/{run}/notes.txt", {"notes.txt": b"n"}),
        ("models:/{model}", {"MLmodel": b"logged"}),
    ],
)
def test_a_versions_files_are_downloaded(primary, tmp_path, source, expected):
    run_id, model_id = _with_files(primary)
    number = primary.version(source=source.format(run=run_id, model=model_id), run_id=run_id)
    folder = tmp_path / "target"
    returned = primary.registry.registry_download_model("model", number, folder, primary.deadline)
    assert returned == folder
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert files == expected


def test_files_that_are_not_here_say_so(primary, tmp_path):
    run_id, _model_id = _with_files(primary)
    elsewhere = primary.version(source="s3://bucket/model")
    missing = primary.version(source=f"runs:/{run_id}/none")
    with pytest.raises(RejectedError, match="s3://bucket/model"):
        primary.registry.registry_download_model("model", elsewhere, tmp_path, primary.deadline)
    with pytest.raises(NotFoundError, match="'none'"):
        primary.registry.registry_download_model("model", missing, tmp_path, primary.deadline)
    with pytest.raises(NotFoundError, match="m-unknown"):
        primary.version(source="models:/m-unknown")


def _with_files(primary):
    experiment_id = primary.experiment()
    run_id = primary.run(experiment_id=experiment_id)
    create = CreateLoggedModel(run_id=run_id, experiment_id=experiment_id, name="m")
    model_id = primary.write(create).primary_id
    primary.file(run_id, "MLmodel", b"logged", ArtifactOwner(kind="model", id=model_id))
    primary.file(run_id, "model/MLmodel", b"in run")
    primary.file(run_id, "model/data/weights", b"w")
    primary.file(run_id, "notes.txt", b"n")
    return run_id, model_id
