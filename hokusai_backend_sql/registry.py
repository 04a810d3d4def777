"""The registry hooks of the SQL backend: a primary that needs no MLflow.

Version numbers count up in the registered model's row, which is locked while one is made: a number
is never given twice, not even after the version's deletion.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from hokusai_backend_sql.artifacts import download_tree
from hokusai_backend_sql.health import describe
from hokusai_backend_sql.logged_models import get_logged_model
from hokusai_backend_sql.records_schema import (
    ACTIVE,
    DELETED,
    model_aliases,
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)
from hokusai_backend_sql.run_writes import write_pairs
from hokusai_backend_sql.time_limits import within_deadlines
from hokusai_backend_sql.upsert import insert_unless_there, overwrite
from hokusai_backend_sql.version_search import (
    search_models,
    search_versions,
    select_models,
    select_versions,
)
from hokusai_core.addresses import without_credentials
from hokusai_core.clock import Deadline
from hokusai_core.entities import BackendHealth, ModelVersion, Page, Receipt, RegisteredModel
from hokusai_core.errors import ModelNotFoundError, RejectedError
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

if TYPE_CHECKING:
    from hokusai_backend_sql.engine import Database

_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_MODEL_SOURCE = re.compile(r"models:/(m-[\w\-]+)")
_RUN_SOURCE = re.compile(r"runs:/([\w\-]+)(?:/(.*))?", re.DOTALL)


@within_deadlines
class SqlRegistry:
    """Registered models, versions, tags and aliases in a database.

    Args:
        database: The database, opened for the role of a primary.

    """

    def __init__(self, database: "Database") -> None:
        self._database = database

    @hookimpl
    def registry_check(self, deadline: Deadline) -> BackendHealth:
        """Ask the database whether it answers."""
        with self._database.connect() as connection:
            return describe(connection)

    @hookimpl
    def registry_create_registered_model(
        self, operation: CreateRegisteredModel, deadline: Deadline
    ) -> Receipt:
        """Get the registered model, or create it with description and tags."""
        with self._database.begin() as connection:
            created = insert_unless_there(
                connection,
                registered_models,
                {
                    "name": operation.name,
                    "description": operation.description or "",
                    "creation_timestamp": operation.created_at,
                    "last_version": 0,
                },
            )
            if created:
                write_pairs(connection, registered_model_tags, operation.tags, name=operation.name)
        return Receipt(primary_id=operation.name, created=created)

    @hookimpl
    def registry_create_model_version(
        self, operation: CreateModelVersion, deadline: Deadline
    ) -> Receipt:
        """Create a version in one transaction, once for each ``op_id``."""
        with self._database.begin() as connection:
            return _create_version(connection, operation)

    @hookimpl
    def registry_set_model_version_tags(
        self, operation: SetModelVersionTags, deadline: Deadline
    ) -> Receipt:
        """Set tags of a version."""
        with self._database.begin() as connection:
            number = _existing_version(connection, operation.name, operation.version)
            write_pairs(
                connection,
                model_version_tags,
                operation.tags,
                name=operation.name,
                version=number,
            )
        return Receipt()

    @hookimpl
    def registry_delete_model_version(
        self, operation: DeleteModelVersion, deadline: Deadline
    ) -> Receipt:
        """Delete a version, its tags and the aliases that point to it; its number stays taken."""
        number = _number(operation.version)
        with self._database.begin() as connection:
            _lock_model(connection, operation.name)
            for table in (model_aliases, model_version_tags):
                connection.execute(
                    delete(table).where(table.c.name == operation.name, table.c.version == number)
                )
            connection.execute(
                update(model_versions)
                .where(_is_version(operation.name, number))
                .values(lifecycle_stage=DELETED)
            )
        return Receipt()

    @hookimpl
    def registry_set_registered_model_tags(
        self, operation: SetRegisteredModelTags, deadline: Deadline
    ) -> Receipt:
        """Set tags of a registered model."""
        with self._database.begin() as connection:
            if _lock_model(connection, operation.name) is None:
                raise _missing_model(operation.name)
            write_pairs(connection, registered_model_tags, operation.tags, name=operation.name)
        return Receipt()

    @hookimpl
    def registry_set_alias(self, operation: SetAlias, deadline: Deadline) -> Receipt:
        """Let the alias point to the version, wherever it pointed before."""
        with self._database.begin() as connection:
            number = _existing_version(connection, operation.name, operation.version)
            row = {"name": operation.name, "alias": operation.alias, "version": number}
            overwrite(connection, model_aliases, [row])
        return Receipt()

    @hookimpl
    def registry_delete_alias(self, operation: DeleteAlias, deadline: Deadline) -> Receipt:
        """Remove the alias where it is there."""
        with self._database.begin() as connection:
            connection.execute(
                delete(model_aliases).where(
                    model_aliases.c.name == operation.name,
                    model_aliases.c.alias == operation.alias,
                )
            )
        return Receipt()

    @hookimpl
    def registry_find_versions(
        self, operation: CreateModelVersion, deadline: Deadline
    ) -> tuple[ModelVersion, ...]:
        """Find the version that the creation made: none or one."""
        with self._database.connect() as connection:
            found = select_versions(
                connection,
                model_versions.c.name == operation.name,
                model_versions.c.op_id == operation.op_id,
            )
        return tuple(found)

    @hookimpl
    def registry_find_by_op_id(self, op_id: str, deadline: Deadline) -> tuple[str, ...]:
        """Find the version of an ``op_id`` in all models."""
        with self._database.connect() as connection:
            found = select_versions(connection, model_versions.c.op_id == op_id)
        return tuple(each.version for each in found)

    @hookimpl
    def registry_get_registered_model(self, name: str, deadline: Deadline) -> RegisteredModel:
        """Get a registered model with its tags and aliases."""
        with self._database.connect() as connection:
            found = select_models(connection, registered_models.c.name == name)
        if not found:
            raise _missing_model(name)
        return found[0]

    @hookimpl
    def registry_search_registered_models(
        self, query: ModelQuery, deadline: Deadline
    ) -> Page[RegisteredModel]:
        """List registered models by name."""
        with self._database.connect() as connection:
            return search_models(connection, query)

    @hookimpl
    def registry_get_model_version(
        self, name: str, version: str, deadline: Deadline
    ) -> ModelVersion:
        """Get a version by number."""
        with self._database.connect() as connection:
            found = select_versions(connection, _is_version(name, _number(version)))
        if not found:
            raise _missing_version(name, version)
        return found[0]

    @hookimpl
    def registry_get_version_by_alias(
        self, name: str, alias: str, deadline: Deadline
    ) -> ModelVersion:
        """Get the version that an alias points to."""
        target = (
            select(model_aliases.c.version)
            .where(model_aliases.c.name == name, model_aliases.c.alias == alias)
            .scalar_subquery()
        )
        with self._database.connect() as connection:
            found = select_versions(
                connection, model_versions.c.name == name, model_versions.c.version == target
            )
        if not found:
            raise ModelNotFoundError(f"Registered model {name!r} has no alias {alias!r}.")
        return found[0]

    @hookimpl
    def registry_search_versions(
        self, query: VersionQuery, deadline: Deadline
    ) -> Page[ModelVersion]:
        """Search versions, newest first."""
        with self._database.connect() as connection:
            return search_versions(connection, query)

    @hookimpl
    def registry_download_model(
        self, name: str, version: str, destination: Path, deadline: Deadline
    ) -> Path:
        """Download the files that a version's source names into the folder ``destination``."""
        source = self.registry_get_model_version(name, version, deadline).source_uri
        owner, path = _artifacts_of(name, version, source)
        return download_tree(self._database, owner, path, destination)


def _create_version(connection: Connection, operation: CreateModelVersion) -> Receipt:
    last = _lock_model(connection, operation.name)
    if last is None:
        raise _missing_model(operation.name)
    first = connection.scalar(
        select(model_versions.c.version).where(model_versions.c.op_id == operation.op_id)
    )
    if first is not None:
        return Receipt(primary_id=str(first), created=False)
    if match := _MODEL_SOURCE.fullmatch(operation.source):
        get_logged_model(connection, match[1])
    number = last + 1
    connection.execute(
        update(registered_models)
        .where(registered_models.c.name == operation.name)
        .values(last_version=number)
    )
    connection.execute(
        insert(model_versions).values(
            name=operation.name,
            version=number,
            op_id=operation.op_id,
            source_uri=operation.source,
            run_id=operation.run_id,
            model_id=operation.model_id,
            description=operation.description or "",
            creation_timestamp=operation.created_at,
            lifecycle_stage=ACTIVE,
        )
    )
    tags = dict(operation.tags) | {OP_ID_TAG: operation.op_id}
    write_pairs(connection, model_version_tags, tags, name=operation.name, version=number)
    return Receipt(primary_id=str(number))


def _lock_model(connection: Connection, name: str) -> int | None:
    """Keep others from changing a model's versions until the end; its highest number, or None."""
    return connection.scalar(
        select(registered_models.c.last_version)
        .where(registered_models.c.name == name)
        .with_for_update(key_share=True)
    )


def _existing_version(connection: Connection, name: str, version: str) -> int:
    """Lock the model, and give the number of a version that is there."""
    number = _number(version)
    if _lock_model(connection, name) is None:
        raise _missing_model(name)
    found = connection.scalar(
        select(model_versions.c.version).where(
            _is_version(name, number), model_versions.c.lifecycle_stage == ACTIVE
        )
    )
    if found is None:
        raise _missing_version(name, version)
    return number


def _is_version(name: str, number: int) -> ColumnElement[bool]:
    return and_(model_versions.c.name == name, model_versions.c.version == number)


def _number(version: str) -> int:
    """Give the number that a version stands for; 0, which none has, for any other text."""
    return int(version) if _VERSION.fullmatch(version) else 0


def _artifacts_of(name: str, version: str, source: str) -> tuple[ArtifactOwner, str]:
    if match := _MODEL_SOURCE.fullmatch(source):
        return ArtifactOwner(kind="model", id=match[1]), ""
    if match := _RUN_SOURCE.fullmatch(source):
        return ArtifactOwner(kind="run", id=match[1]), (match[2] or "").rstrip("/")
    raise RejectedError(
        f"Version {version} of {name!r} has the source {without_credentials(source)!r}, which this "
        "database does not hold; it holds those that begin with 'runs:/' or 'models:/m-'. Download "
        "it from its store."
    )


def _missing_model(name: str) -> ModelNotFoundError:
    return ModelNotFoundError(f"No registered model is called {name!r}.")


def _missing_version(name: str, version: str) -> ModelNotFoundError:
    return ModelNotFoundError(f"Registered model {name!r} has no version {version!r}.")
