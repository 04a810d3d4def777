"""The model registry on a real server."""

import pytest

from hokusai_core.backends import OpenBackend
from hokusai_core.errors import RejectedError
from hokusai_core.operations import (
    CreateModelVersion,
    CreateRegisteredModel,
    DeleteModelVersion,
    SetModelVersionTags,
)
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


def test_deleting_what_is_gone_is_a_success(backend: OpenBackend, name: str) -> None:
    _, number = version(backend, name)
    operation = DeleteModelVersion(name=name, version=number)
    assert backend.write(operation, soon()).created
    assert not backend.write(operation, soon()).created


def test_a_source_that_mlflow_refuses(backend: OpenBackend, name: str) -> None:
    with pytest.raises(RejectedError):
        version(backend, name, source="file:///etc")
