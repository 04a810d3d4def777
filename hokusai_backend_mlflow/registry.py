"""The hooks for the model registry."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hokusai_backend_mlflow import convert, filters
from hokusai_backend_mlflow.client import Client
from hokusai_backend_mlflow.paging import pages
from hokusai_backend_mlflow.version import server_version
from hokusai_core.clock import Deadline
from hokusai_core.entities import BackendHealth, ModelVersion, Page, Receipt, RegisteredModel
from hokusai_core.errors import AlreadyExistsError, ModelNotFoundError, NotFoundError, RejectedError
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.markers import hookimpl
from hokusai_core.operations import (
    ArtifactOwner,
    CreateModelVersion,
    CreateRegisteredModel,
    DeleteAlias,
    DeleteModelVersion,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
)
from hokusai_core.queries import ModelQuery, VersionQuery

_NEWEST_FIRST = ["creation_timestamp DESC", "version_number DESC"]
_PAGE = 1000
_ASKED_ONE_BY_ONE = 10
"""Registered models that are asked for singly; more of them are cheaper in pages."""


class RegistryHooks:
    """Registered models, versions, tags and aliases."""

    _client: Client

    @hookimpl
    def registry_check(self, deadline: Deadline) -> BackendHealth:
        """Ask for one registered model, so that database and credentials are tried, too."""
        version = server_version(self._client.registry_transport, deadline)
        self._client.registry(deadline).search_registered_models(max_results=1)
        return BackendHealth(
            description=f"MLflow model registry at {self._client.registry_shown}", version=version
        )

    @hookimpl
    def registry_create_registered_model(
        self, operation: CreateRegisteredModel, deadline: Deadline
    ) -> Receipt:
        """Create the model; that it exists is a success."""
        from hokusai_backend_mlflow.mlflow_entities import RegisteredModelTag

        tags = [RegisteredModelTag(key, value) for key, value in operation.tags.items()]
        try:
            made = self._client.registry(deadline).create_registered_model(
                operation.name, tags=tags, description=operation.description
            )
        except AlreadyExistsError:
            return Receipt(primary_id=operation.name, created=False)
        return Receipt(primary_id=convert.made_id(made.name, "registered model"))

    @hookimpl
    def registry_create_model_version(
        self, operation: CreateModelVersion, deadline: Deadline
    ) -> Receipt:
        """Create the version in one request; nothing is waited for."""
        from hokusai_backend_mlflow.mlflow_entities import ModelVersionTag

        operation = self._without_model_uri(operation, deadline)
        tags = {**operation.tags, OP_ID_TAG: operation.op_id}
        with _about_models():
            made = self._client.registry(deadline).create_model_version(
                operation.name,
                operation.source,
                run_id=operation.run_id,
                tags=[ModelVersionTag(key, value) for key, value in tags.items()],
                description=operation.description,
                model_id=operation.model_id,
            )
        return Receipt(primary_id=str(convert.made_id(made.version, "model version")))

    @hookimpl
    def registry_set_model_version_tags(
        self, operation: SetModelVersionTags, deadline: Deadline
    ) -> Receipt:
        """Set the tags, one request each."""
        from hokusai_backend_mlflow.mlflow_entities import ModelVersionTag

        store = self._client.registry(deadline)
        with _about_models():
            for key, value in operation.tags.items():
                store.set_model_version_tag(
                    operation.name, operation.version, ModelVersionTag(key, value)
                )
        return Receipt()

    @hookimpl
    def registry_delete_model_version(
        self, operation: DeleteModelVersion, deadline: Deadline
    ) -> Receipt:
        """Delete the version; one that is gone is a success."""
        try:
            self._client.registry(deadline).delete_model_version(operation.name, operation.version)
        except NotFoundError:
            return Receipt(created=False)
        return Receipt()

    @hookimpl
    def registry_set_registered_model_tags(
        self, operation: SetRegisteredModelTags, deadline: Deadline
    ) -> Receipt:
        """Set the tags, one request each."""
        from hokusai_backend_mlflow.mlflow_entities import RegisteredModelTag

        store = self._client.registry(deadline)
        with _about_models():
            for key, value in operation.tags.items():
                store.set_registered_model_tag(operation.name, RegisteredModelTag(key, value))
        return Receipt()

    @hookimpl
    def registry_set_alias(self, operation: SetAlias, deadline: Deadline) -> Receipt:
        """Let the alias point to the version."""
        with _about_models():
            self._client.registry(deadline).set_registered_model_alias(
                operation.name, operation.alias, operation.version
            )
        return Receipt()

    @hookimpl
    def registry_delete_alias(self, operation: DeleteAlias, deadline: Deadline) -> Receipt:
        """Remove the alias; one that is gone is a success."""
        try:
            self._client.registry(deadline).delete_registered_model_alias(
                operation.name, operation.alias
            )
        except NotFoundError:
            return Receipt(created=False)
        return Receipt()

    @hookimpl
    def registry_find_versions(
        self, operation: CreateModelVersion, deadline: Deadline
    ) -> tuple[ModelVersion, ...]:
        """Find the versions of a creation."""
        conditions = [
            filters.equals("name", operation.name),
            filters.with_op_id(operation.op_id),
        ]
        found = (
            version
            for version in self._versions(filters.joined(conditions), deadline)
            if version.name == operation.name
        )
        return tuple(sorted(found, key=lambda version: int(version.version)))

    @hookimpl
    def registry_find_by_op_id(self, op_id: str, deadline: Deadline) -> tuple[str, ...]:
        """Look through all models."""
        found = self._versions(filters.with_op_id(op_id), deadline)
        return tuple(version.version for version in found)

    @hookimpl
    def registry_get_registered_model(self, name: str, deadline: Deadline) -> RegisteredModel:
        """Get a registered model."""
        with _about_models():
            found = self._client.registry(deadline).get_registered_model(name)
        return convert.registered_model(found)

    @hookimpl
    def registry_search_registered_models(
        self, query: ModelQuery, deadline: Deadline
    ) -> Page[RegisteredModel]:
        """List registered models, one page; the server's filter may let more through than fit."""
        condition = filters.starts_with("name", query.prefix)
        token = query.page_token or None
        store = self._client.registry(deadline)
        while True:
            page = store.search_registered_models(
                filter_string=condition,
                max_results=query.max_results,
                order_by=["name ASC"],
                page_token=token,
            )
            token = page.token or None
            models = [convert.registered_model(model) for model in page]
            items = tuple(model for model in models if model.name.startswith(query.prefix))
            if items or token is None:
                return Page(items=items, next_page_token=token or "")

    @hookimpl
    def registry_get_model_version(
        self, name: str, version: str, deadline: Deadline
    ) -> ModelVersion:
        """Get a version by number."""
        with _about_models():
            found = self._client.registry(deadline).get_model_version(name, version)
        return convert.model_version(found)

    @hookimpl
    def registry_get_version_by_alias(
        self, name: str, alias: str, deadline: Deadline
    ) -> ModelVersion:
        """Get the version that an alias points to."""
        store = self._client.registry(deadline)
        with _about_models():
            try:
                return convert.model_version(store.get_model_version_by_alias(name, alias))
            except RejectedError as cause:
                # MLflow refuses a missing alias as if it were malformed.
                if alias in convert.registered_model(store.get_registered_model(name)).aliases:
                    raise
                raise ModelNotFoundError(
                    f"The registered model {name!r} has no alias {alias!r}."
                ) from cause

    @hookimpl
    def registry_search_versions(
        self, query: VersionQuery, deadline: Deadline
    ) -> Page[ModelVersion]:
        """Search versions, one page; what a filter cannot say is decided here."""
        conditions = [filters.tag_equals(key, value) for key, value in query.tags.items()]
        conditions += [filters.tag_folded(key, value) for key, value in query.folded_tags.items()]
        if query.name:
            conditions.append(filters.equals("name", query.name))
        if query.run_id:
            conditions.append(filters.equals("run_id", query.run_id))
        token = query.page_token or None
        store = self._client.registry(deadline)
        while True:
            page = store.search_model_versions(
                filters.joined(conditions) or None, query.max_results, _NEWEST_FIRST, token
            )
            token = page.token or None
            versions = [convert.model_version(version) for version in page]
            items = [version for version in versions if query.matches(version)]
            if items or token is None:
                return Page(items=self._with_aliases(items, deadline), next_page_token=token or "")

    @hookimpl
    def registry_download_model(
        self, name: str, version: str, destination: Path, deadline: Deadline
    ) -> Path:
        """Download a version's files into a folder."""
        idle = deadline.remaining()
        with _about_models():
            uri = self._client.registry(deadline).get_model_version_download_uri(name, version)
        scheme, _, rest = uri.partition(":/")
        model_id = convert.logged_model_id(uri)
        path = ""
        if scheme == "runs":
            run_id, _, path = rest.strip("/").partition("/")
            owner = ArtifactOwner(kind="run", id=run_id)
            root = self._client.owner_root(owner, Deadline(idle))
        elif model_id is not None:
            owner = ArtifactOwner(kind="model", id=model_id)
            root = self._client.owner_root(owner, Deadline(idle))
        else:
            root = self._client.files(uri, idle)
        if not root.fetch_all(destination, path):
            raise ModelNotFoundError(
                f"Version {version} of {name!r} has no files at its source. Were they deleted, or "
                "is the upload still under way?"
            )
        return destination

    def _without_model_uri(
        self, operation: CreateModelVersion, deadline: Deadline
    ) -> CreateModelVersion:
        """Resolve ``models:/m-...`` for a database: its store would ask the process's default."""
        model_id = convert.logged_model_id(operation.source) or operation.model_id
        if model_id is None or self._client.registry_transport is not None:
            return operation
        model = convert.logged_model(self._client.tracking(deadline).get_logged_model(model_id))
        named = convert.logged_model_id(operation.source) is not None
        return operation.model_copy(
            update={
                "source": model.artifact_location if named else operation.source,
                "run_id": operation.run_id or model.source_run_id or None,
                "model_id": None,
            }
        )

    def _with_aliases(
        self, versions: Sequence[ModelVersion], deadline: Deadline
    ) -> tuple[ModelVersion, ...]:
        """Give the versions with their aliases, which a search on MLflow leaves out."""
        aliases: dict[tuple[str, str], list[str]] = defaultdict(list)
        for model in self._models_of({version.name for version in versions}, deadline):
            for alias, number in sorted(model.aliases.items()):
                aliases[model.name, number].append(alias)
        return tuple(
            version.model_copy(update={"aliases": tuple(aliases[version.name, version.version])})
            for version in versions
        )

    def _models_of(self, names: set[str], deadline: Deadline) -> Iterator[RegisteredModel]:
        """Get registered models: one by one where they are few, else by listing."""
        store = self._client.registry(deadline)
        if len(names) <= _ASKED_ONE_BY_ONE:
            for name in names:
                with suppress(NotFoundError):  # deleted since the search
                    yield convert.registered_model(store.get_registered_model(name))
            return
        left = set(names)
        for found in pages(
            lambda token: store.search_registered_models(
                max_results=_PAGE, order_by=["name ASC"], page_token=token
            )
        ):
            model = convert.registered_model(found)
            if model.name in left:
                left.discard(model.name)
                yield model
            if not left:
                return

    def _versions(self, condition: str, deadline: Deadline) -> Iterator[ModelVersion]:
        store = self._client.registry(deadline)
        return (
            convert.model_version(version)
            for version in pages(
                lambda token: store.search_model_versions(condition, _PAGE, None, token)
            )
        )


@contextmanager
def _about_models() -> Iterator[None]:
    """Let what is not found be a model that is not found."""
    try:
        yield
    except ModelNotFoundError:
        raise
    except NotFoundError as cause:
        raise ModelNotFoundError(str(cause)) from cause
