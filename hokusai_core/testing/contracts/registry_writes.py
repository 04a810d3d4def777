"""What every registry backend has to do with long, simultaneous and interrupted writes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hokusai_core import limits
from hokusai_core.backends import OpenBackend
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.operations import (
    CreateExperiment,
    CreateModelVersion,
    CreateRegisteredModel,
    SetModelVersionTags,
)
from hokusai_core.queries import VersionQuery
from hokusai_core.testing.contracts.clauses import clause
from hokusai_core.testing.contracts.interruptions import (
    CutWrites,
    Interruptions,
    Reopen,
)
from hokusai_core.testing.contracts.samples import deadline, file_of, new_run, unique
from hokusai_core.testing.cuts import Cuts

_SOURCE = "s3://bucket/models/1"
_THREADS = 4


class RegistryWrites(Interruptions):
    """Tests of the writes of a registry backend; a part of ``RegistryContract``."""

    @clause("registry.numbers")
    def test_versions_are_numbered_for_each_model(self, backend: OpenBackend, name: str) -> None:
        """From 1, each number once, also when several are created at the same time."""
        other = unique("model")
        backend.write(CreateRegisteredModel(name=other), deadline())

        def create(_number: int) -> str:
            operation = CreateModelVersion(name=name, source=_SOURCE)
            return backend.write(operation, deadline()).primary_id

        with ThreadPoolExecutor(_THREADS) as executor:
            made = list(executor.map(create, range(8)))
        assert sorted(made, key=int) == [str(number) for number in range(1, 9)]
        first = backend.write(CreateModelVersion(name=other, source=_SOURCE), deadline())
        assert first.primary_id == "1"

    @clause("registry.longest-values")
    def test_the_longest_values_are_kept_whole(self, backend: OpenBackend, name: str) -> None:
        """A tag, its key and a source at MLflow's limits; none is accepted and then cut."""
        tags = {"k" * limits.KEY_CHARACTERS: "模" * limits.REGISTRY_TAG_VALUE_CHARACTERS}
        source = "s3://b/".ljust(limits.SOURCE_CHARACTERS, "x")
        number = backend.write(
            CreateModelVersion(name=name, source=source, tags=tags), deadline()
        ).primary_id
        version = backend.registry.registry_get_model_version(name, number, deadline())
        assert version.source_uri == source
        assert {key: version.tags.get(key) for key in tags} == tags

    @clause("registry.versions-apart")
    def test_versions_are_apart(self, backend: OpenBackend, name: str) -> None:
        """A tag that is set on one version is not seen on another one."""
        for _ in range(2):
            backend.write(CreateModelVersion(name=name, source=_SOURCE), deadline())
        tags = {"stage": "one"}
        backend.write(SetModelVersionTags(name=name, version="1", tags=tags), deadline())
        other = backend.registry.registry_get_model_version(name, "2", deadline())
        assert "stage" not in other.tags

    @clause("registry.read-after-write")
    def test_what_was_written_is_there_for_another_process(
        self, backend: OpenBackend, name: str, reopen: Reopen
    ) -> None:
        """A write that returned is stored: a backend that is opened anew reads it."""
        operation = CreateModelVersion(name=name, source=_SOURCE, tags={"metric": "0.9"})
        number = backend.write(operation, deadline()).primary_id
        version = reopen().registry.registry_get_model_version(name, number, deadline())
        assert version.tags == {"metric": "0.9", OP_ID_TAG: operation.op_id}

    @clause("registry.download")
    def test_the_files_of_a_version_are_downloaded(
        self, backend: OpenBackend, name: str, tmp_path: Path
    ) -> None:
        """Those of a run's folder that its source names, each with its path below that folder."""
        if not (backend.can("tracking") and backend.can("artifacts")):
            pytest.skip(f"Backend {backend.name!r} stores no files of runs (tracking, artifacts).")
        experiment = CreateExperiment(name=unique("contract"))
        run = new_run(backend.write(experiment, deadline()).primary_id)
        run_id = backend.write(run, deadline()).primary_id
        files = {"model/MLmodel": b"flavors: {}\n", "model/data/weights.bin": bytes(range(256))}
        for path, content in (files | {"other.txt": b"not of the model"}).items():
            operation, open_content = file_of(run_id, path, content)
            backend.write(operation, deadline(), open_content)
        version = CreateModelVersion(name=name, source=f"runs:/{run_id}/model", run_id=run_id)
        number = backend.write(version, deadline()).primary_id
        target = tmp_path / "downloaded"
        got = backend.registry.registry_download_model(name, number, target, deadline())
        found = {
            path.relative_to(got).as_posix(): path.read_bytes()
            for path in got.rglob("*")
            if path.is_file()
        }
        assert found == {path.removeprefix("model/"): data for path, data in files.items()}

    @clause("registry.cut-creation")
    def test_a_creation_that_is_cut_off_is_whole_or_not_there(
        self, backend: OpenBackend, name: str, cuts: Cuts, reopen: Reopen
    ) -> None:
        """And is found by its ``op_id`` where it is there, so that nobody makes another one."""
        writes = CutWrites(cuts)
        for point in writes.points():
            operation = CreateModelVersion(name=name, source=_SOURCE, tags={"metric": "0.9"})
            with writes.at(point):
                backend.write(operation, deadline())
            after = reopen()
            found = after.registry.registry_find_versions(operation, deadline())
            assert len(found) <= 1, point
            for version in found:
                assert version.tags == {"metric": "0.9", OP_ID_TAG: operation.op_id}, point
                assert version.source_uri == _SOURCE, point
            if not found:
                after.write(operation, deadline())
            (version,) = after.registry.registry_find_versions(operation, deadline())
            page = after.registry.registry_search_versions(VersionQuery(name=name), deadline())
            assert all(OP_ID_TAG in each.tags for each in page.items), point
