"""What every registry backend has to do."""

import uuid

import pytest

from hokusai_core.backends import OpenBackend
from hokusai_core.entities import ModelVersion
from hokusai_core.errors import ModelNotFoundError
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.operations import (
    CreateModelVersion,
    CreateRegisteredModel,
    DeleteAlias,
    DeleteModelVersion,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
)
from hokusai_core.queries import ModelQuery, VersionQuery
from hokusai_core.testing.contracts.clauses import clause
from hokusai_core.testing.contracts.registry_writes import RegistryWrites
from hokusai_core.testing.contracts.samples import NASTY_TEXTS, deadline, unique

_SOURCE = "s3://bucket/models/1"


class RegistryContract(RegistryWrites):
    """Tests of the specification :class:`~hokusai_core.hookspecs.RegistryBackend`."""

    @pytest.fixture
    def backend(self) -> OpenBackend:
        """The backend under test; a subclass gives it."""
        raise NotImplementedError

    @pytest.fixture
    def name(self, backend: OpenBackend) -> str:
        """A registered model of this test's own."""
        name = unique("model")
        backend.write(CreateRegisteredModel(name=name), deadline())
        return name

    @clause("registry.check")
    def test_it_says_that_it_answers(self, backend: OpenBackend) -> None:
        """A check describes what answered."""
        assert backend.registry.registry_check(deadline()).description

    @clause("registry.model-once")
    def test_a_registered_model_is_created_once(self, backend: OpenBackend) -> None:
        """A second creation of the same name finds the first one's and changes nothing."""
        name = unique("it's a model")
        first = CreateRegisteredModel(name=name, description="first", tags={"team": "a"})
        assert backend.write(first, deadline()).created
        again = backend.write(CreateRegisteredModel(name=name, tags={"team": "b"}), deadline())
        assert not again.created
        model = backend.registry.registry_get_registered_model(name, deadline())
        assert (model.name, model.description, model.aliases) == (name, "first", {})
        assert model.tags == {"team": "a"}

    @clause("registry.unknown")
    def test_unknown_things_are_not_found(self, backend: OpenBackend, name: str) -> None:
        """Reads of what does not exist, and writes to it, raise ModelNotFoundError."""
        unknown = unique("unknown")
        registry = backend.registry
        with pytest.raises(ModelNotFoundError):
            registry.registry_get_registered_model(unknown, deadline())
        with pytest.raises(ModelNotFoundError):
            registry.registry_get_model_version(name, "7", deadline())
        with pytest.raises(ModelNotFoundError):
            registry.registry_get_version_by_alias(name, "champion", deadline())
        with pytest.raises(ModelNotFoundError):
            backend.write(CreateModelVersion(name=unknown, source=_SOURCE), deadline())
        with pytest.raises(ModelNotFoundError):
            backend.write(SetModelVersionTags(name=name, version="7", tags={"a": "b"}), deadline())
        with pytest.raises(ModelNotFoundError):
            backend.write(SetAlias(name=name, alias="champion", version="7"), deadline())
        with pytest.raises(ModelNotFoundError):
            backend.write(SetRegisteredModelTags(name=unknown, tags={"a": "b"}), deadline())

    @clause("registry.version-whole")
    def test_a_version_carries_what_its_creation_says(
        self, backend: OpenBackend, name: str
    ) -> None:
        """Source, run, description, tags and ``op_id`` are there after the one request."""
        run_id = uuid.uuid4().hex
        operation = CreateModelVersion(
            name=name, source=_SOURCE, run_id=run_id, description="best", tags={"metric": "0.9"}
        )
        assert backend.write(operation, deadline()).primary_id == "1"
        version = self._get(backend, name, "1")
        assert (version.name, version.version) == (name, "1")
        assert (version.source_uri, version.run_id) == (_SOURCE, run_id)
        assert (version.description, version.aliases) == ("best", ())
        assert version.tags == {"metric": "0.9", OP_ID_TAG: operation.op_id}
        by_run = VersionQuery(name=name, run_id=run_id)
        assert self._search(backend, by_run) == ["1"]

    @clause("registry.find-version")
    def test_a_version_is_found_by_its_creation(self, backend: OpenBackend, name: str) -> None:
        """At once after the creation's answer; a repeat makes another one, or finds the first."""
        operation = CreateModelVersion(name=name, source=_SOURCE)
        assert backend.registry.registry_find_versions(operation, deadline()) == ()
        made = [backend.write(operation, deadline()).primary_id for _ in range(2)]
        assert made in (["1", "1"], ["1", "2"])
        found = backend.registry.registry_find_versions(operation, deadline())
        assert [version.version for version in found] == sorted(set(made))
        everywhere = backend.registry.registry_find_by_op_id(operation.op_id, deadline())
        assert sorted(everywhere) == sorted(set(made))

    @clause("registry.tags")
    def test_the_last_tag_stays(self, backend: OpenBackend, name: str) -> None:
        """Tags of models and versions overwrite, whatever characters they hold."""
        texts = {f"text {number}": text for number, text in enumerate(NASTY_TEXTS) if text}
        self._create(backend, name, stage="one")
        for _ in range(2):
            tags = SetModelVersionTags(name=name, version="1", tags=texts | {"stage": "two"})
            backend.write(tags, deadline())
            backend.write(SetRegisteredModelTags(name=name, tags=texts), deadline())
        version = self._get(backend, name, "1")
        assert version.tags["stage"] == "two"
        assert {key: version.tags.get(key) for key in texts} == texts
        assert backend.registry.registry_get_registered_model(name, deadline()).tags == texts

    @clause("registry.search-by-tags")
    def test_versions_are_found_by_tags(self, backend: OpenBackend, name: str) -> None:
        """Values are data: quotes and wildcards mean themselves."""
        values = [text for text in NASTY_TEXTS if text]
        values += ["%", "-- a", "/* a */", "a; b", "a = 'b' AND name = 'c", "`a`", "(1, 2)", "a\\"]
        values.append("x" * 5000)
        for value in values:
            self._create(backend, name, value=value)
        for number, value in enumerate(values, start=1):
            query = VersionQuery(name=name, tags={"value": value})
            assert self._search(backend, query) == [str(number)]
        run_id = uuid.uuid4().hex
        of_run = CreateModelVersion(
            name=name, source=_SOURCE, run_id=run_id, tags={"value": values[0]}
        )
        made = backend.write(of_run, deadline()).primary_id
        assert self._search(
            backend, VersionQuery(name=name, tags={"value": values[0]}, run_id=run_id)
        ) == [made]
        both = VersionQuery(name=name, tags={"value": values[0], "other": "no"})
        assert self._search(backend, both) == []

    @clause("registry.version-pages")
    def test_versions_are_listed_newest_first(self, backend: OpenBackend, name: str) -> None:
        """Pages hold each version once."""
        for _ in range(5):
            self._create(backend, name)
        assert self._search(backend, VersionQuery(name=name)) == ["5", "4", "3", "2", "1"]
        found: list[str] = []
        token, pages = "", 0
        while pages == 0 or token:
            query = VersionQuery(name=name, max_results=2, page_token=token)
            page = backend.registry.registry_search_versions(query, deadline())
            found += [version.version for version in page.items]
            token, pages = page.next_page_token, pages + 1
            assert pages <= 4
        assert found == ["5", "4", "3", "2", "1"]

    @clause("registry.deletion")
    def test_a_deletion_of_what_is_gone_is_a_success(self, backend: OpenBackend, name: str) -> None:
        """The version goes, its number is not used again, its alias goes with it."""
        for _ in range(2):
            self._create(backend, name)
        backend.write(SetAlias(name=name, alias="champion", version="2"), deadline())
        for _ in range(2):
            backend.write(DeleteModelVersion(name=name, version="2"), deadline())
        with pytest.raises(ModelNotFoundError):
            self._get(backend, name, "2")
        with pytest.raises(ModelNotFoundError):
            backend.registry.registry_get_version_by_alias(name, "champion", deadline())
        assert self._create(backend, name) == "3"
        assert self._search(backend, VersionQuery(name=name)) == ["3", "1"]

    @clause("registry.alias")
    def test_an_alias_moves(self, backend: OpenBackend, name: str) -> None:
        """It points to one version, and a search shows it, too; repeating either write is harmless."""
        for _ in range(2):
            self._create(backend, name)
        for number in ("1", "2", "2"):
            backend.write(SetAlias(name=name, alias="champion", version=number), deadline())
        found = backend.registry.registry_get_version_by_alias(name, "champion", deadline())
        assert (found.version, found.aliases) == ("2", ("champion",))
        assert self._get(backend, name, "1").aliases == ()
        model = backend.registry.registry_get_registered_model(name, deadline())
        assert model.aliases == {"champion": "2"}
        self._assert_aliases(backend, name, {"1": (), "2": ("champion",)})
        backend.write(SetAlias(name=name, alias="a-second", version="2"), deadline())
        self._assert_aliases(backend, name, {"1": (), "2": ("a-second", "champion")})
        for _ in range(2):
            backend.write(DeleteAlias(name=name, alias="champion"), deadline())
        with pytest.raises(ModelNotFoundError):
            backend.registry.registry_get_version_by_alias(name, "champion", deadline())
        backend.write(DeleteAlias(name=unique("unknown"), alias="champion"), deadline())

    @clause("registry.model-pages")
    def test_registered_models_are_listed_by_prefix(self, backend: OpenBackend) -> None:
        """In the order of names, each on one page; wildcards in the prefix mean themselves."""
        prefix = unique("list%me_")
        names = [f"{prefix}{letter}" for letter in "abc"]
        for name in (*reversed(names), prefix.replace("%", "X")):
            backend.write(CreateRegisteredModel(name=name), deadline())
        found: list[str] = []
        token, pages = "", 0
        while pages == 0 or token:
            query = ModelQuery(prefix=prefix, max_results=2, page_token=token)
            page = backend.registry.registry_search_registered_models(query, deadline())
            found += [model.name for model in page.items]
            token, pages = page.next_page_token, pages + 1
            assert pages <= 3
        assert found == names

    def _create(self, backend: OpenBackend, name: str, **tags: str) -> str:
        operation = CreateModelVersion(name=name, source=_SOURCE, tags=tags)
        return backend.write(operation, deadline()).primary_id

    def _get(self, backend: OpenBackend, name: str, version: str) -> ModelVersion:
        return backend.registry.registry_get_model_version(name, version, deadline())

    def _assert_aliases(
        self, backend: OpenBackend, name: str, aliases: dict[str, tuple[str, ...]]
    ) -> None:
        """By number and in a search alike."""
        page = backend.registry.registry_search_versions(VersionQuery(name=name), deadline())
        searched = {version.version: version.aliases for version in page.items}
        got = {number: self._get(backend, name, number).aliases for number in aliases}
        for found in (searched, got):
            assert {number: tuple(sorted(each)) for number, each in found.items()} == aliases

    def _search(self, backend: OpenBackend, query: VersionQuery) -> list[str]:
        page = backend.registry.registry_search_versions(query, deadline())
        return [version.version for version in page.items]
