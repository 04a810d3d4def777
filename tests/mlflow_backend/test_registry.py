"""The model registry on a real server."""

import io
from pathlib import Path

import pytest

from hokusai_core.backends import OpenBackend
from hokusai_core.errors import ModelNotFoundError, RejectedError
from hokusai_core.operations import (
    ArtifactOwner,
    CreateModelVersion,
    CreateRegisteredModel,
    DeleteAlias,
    DeleteModelVersion,
    LogArtifact,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
)
from hokusai_core.queries import ModelQuery, VersionQuery
from tests.mlflow_backend.conftest import make_experiment, make_run, soon, unique


@pytest.fixture
def name(backend: OpenBackend) -> str:
    made = unique("model")
    backend.write(CreateRegisteredModel(name=made, description="d", tags={"a": "b"}), soon())
    return made


def version(backend: OpenBackend, name: str, **fields: object) -> tuple[CreateModelVersion, str]:
    operation = CreateModelVersion.model_validate(
        {"name": name, "source": "s3://bucket/model"} | fields
    )
    return operation, backend.write(operation, soon()).primary_id


def test_check(backend: OpenBackend) -> None:
    assert backend.registry.registry_check(soon()).version.startswith("3.")


def test_a_registered_model_is_created_once(backend: OpenBackend, name: str) -> None:
    again = backend.write(CreateRegisteredModel(name=name, description="other"), soon())
    assert (again.primary_id, again.created) == (name, False)
    backend.write(SetRegisteredModelTags(name=name, tags={"a": "c", "x": "y"}), soon())
    model = backend.registry.registry_get_registered_model(name, soon())
    assert (model.description, model.tags) == ("d", {"a": "c", "x": "y"})


def test_a_version_has_all_its_data_at_once(backend: OpenBackend, name: str) -> None:
    run_id = make_run(backend, make_experiment(backend))
    operation, number = version(backend, name, run_id=run_id, description="dd", tags={"k": "v"})
    other, _ = version(backend, name)
    stored = backend.registry.registry_get_model_version(name, number, soon())
    assert (stored.run_id, stored.description, stored.tags["k"]) == (run_id, "dd", "v")
    assert (stored.source_uri, stored.status) == ("s3://bucket/model", "READY")
    (found,) = backend.registry.registry_find_versions(operation, soon())
    assert found.version == number
    assert backend.registry.registry_find_by_op_id(other.op_id, soon()) == ("2",)
    backend.write(SetModelVersionTags(name=name, version=number, tags={"k": "w"}), soon())
    stored = backend.registry.registry_get_model_version(name, number, soon())
    assert stored.tags["k"] == "w"


def test_an_alias_moves_and_goes(backend: OpenBackend, name: str) -> None:
    for _ in range(2):
        version(backend, name)
    backend.write(SetAlias(name=name, alias="best", version="1"), soon())
    backend.write(SetAlias(name=name, alias="best", version="2"), soon())
    found = backend.registry.registry_get_version_by_alias(name, "best", soon())
    assert (found.version, found.aliases) == ("2", ("best",))
    assert backend.registry.registry_get_registered_model(name, soon()).aliases == {"best": "2"}
    for _ in range(2):
        backend.write(DeleteAlias(name=name, alias="best"), soon())
    with pytest.raises(ModelNotFoundError):
        backend.registry.registry_get_version_by_alias(name, "best", soon())
    backend.write(DeleteAlias(name=unique("none"), alias="best"), soon())


def test_deleting_what_is_gone_is_a_success(backend: OpenBackend, name: str) -> None:
    _, number = version(backend, name)
    operation = DeleteModelVersion(name=name, version=number)
    assert backend.write(operation, soon()).created
    assert not backend.write(operation, soon()).created


def test_what_is_missing_is_a_model_that_is_not_found(backend: OpenBackend, name: str) -> None:
    none = unique("none")
    for call in (
        lambda: backend.registry.registry_get_registered_model(none, soon()),
        lambda: backend.registry.registry_get_model_version(name, "9", soon()),
        lambda: backend.registry.registry_get_version_by_alias(none, "best", soon()),
        lambda: version(backend, none),
        lambda: backend.write(SetAlias(name=name, alias="best", version="9"), soon()),
        lambda: backend.write(SetModelVersionTags(name=name, version="9", tags={"a": "b"}), soon()),
        lambda: backend.write(SetRegisteredModelTags(name=none, tags={"a": "b"}), soon()),
    ):
        with pytest.raises(ModelNotFoundError):
            call()


def test_a_source_that_mlflow_refuses(backend: OpenBackend, name: str) -> None:
    with pytest.raises(RejectedError):
        version(backend, name, source="file:///etc")


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "it's",
        'say "so"',
        "both ' and \"",
        "ends with \\",
        "new\nline",
        "-- comment",
        "/* comment */",
        "a; b",
        "100%",
        "a = 'b' AND name = 'c",
        "ünïcode 🎈",
        " spaces ",
        "",
        "x" * 5000,
        "`tick`",
        "(1, 2)",
    ],
)
def test_tag_values_are_data(backend: OpenBackend, name: str, value: str) -> None:
    version(backend, name, tags={"my key/x.y": value})
    version(backend, name, tags={"my key/x.y": "another"})
    query = VersionQuery(name=name, tags={"my key/x.y": value})
    found = backend.registry.registry_search_versions(query, soon())
    assert [item.version for item in found.items] == ["1"]


def test_versions_come_newest_first_in_pages(backend: OpenBackend, name: str) -> None:
    run_id = make_run(backend, make_experiment(backend))
    for number in range(5):
        version(backend, name, run_id=run_id, tags={"odd": 'it\'s "x"' if number % 2 else "n"})
    query = VersionQuery(name=name, run_id=run_id, tags={"odd": 'it\'s "x"'}, max_results=2)
    seen: list[str] = []
    while True:
        page = backend.registry.registry_search_versions(query, soon())
        seen += [item.version for item in page.items]
        if not page.next_page_token:
            break
        query = query.model_copy(update={"page_token": page.next_page_token})
    assert seen == ["4", "2"]


@pytest.mark.parametrize("prefix", ["p", "p_%", "it's", "both'\""])
def test_models_are_listed_by_prefix(backend: OpenBackend, prefix: str) -> None:
    start = unique(prefix)
    names = [f"{start}-{letter}" for letter in "abc"]
    for made in (*reversed(names), unique("other")):
        backend.write(CreateRegisteredModel(name=made), soon())
    query = ModelQuery(prefix=start, max_results=2)
    seen: list[str] = []
    while True:
        page = backend.registry.registry_search_registered_models(query, soon())
        seen += [item.name for item in page.items]
        if not page.next_page_token:
            break
        query = query.model_copy(update={"page_token": page.next_page_token})
    assert seen == names


def test_a_model_of_a_run_is_downloaded(backend: OpenBackend, name: str, tmp_path: Path) -> None:
    run_id = make_run(backend, make_experiment(backend))
    for path in ("model/MLmodel", "model/data/weights", "other"):
        artifact = LogArtifact(
            run_id=run_id,
            owner=ArtifactOwner(kind="run", id=run_id),
            path=path,
            size=len(path),
            sha256="0" * 64,
        )
        backend.write(artifact, soon(), lambda path=path: io.BytesIO(path.encode()))
    _, number = version(backend, name, source=f"runs:/{run_id}/model", run_id=run_id)
    folder = backend.registry.registry_download_model(name, number, tmp_path / "m", soon())
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert files == {"MLmodel", "data/weights"}
    assert (folder / "MLmodel").read_text() == "model/MLmodel"
