"""Reads of registered models and versions, whole ones and by the page."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, exists, func, or_, select

from hokusai_backend_sql.paging import read_token, write_token
from hokusai_backend_sql.records_schema import (
    ACTIVE,
    model_aliases,
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)
from hokusai_core.entities import ModelVersion, Page, RegisteredModel
from hokusai_core.queries import ModelQuery, VersionQuery, fold

_ROWS_PER_STATEMENT = 500


def select_versions(connection: Connection, *conditions: ColumnElement[bool]) -> list[ModelVersion]:
    """Read the versions that are not deleted and meet the conditions, lowest first."""
    statement = (
        select(model_versions)
        .where(model_versions.c.lifecycle_stage == ACTIVE, *conditions)
        .order_by(model_versions.c.name, model_versions.c.version)
    )
    return _load_versions(connection, statement)


def search_versions(connection: Connection, query: VersionQuery) -> Page[ModelVersion]:
    """Give one page of versions, newest first; raises InvalidInputError for an unknown token."""
    versions = model_versions.c
    conditions = [versions.lifecycle_stage == ACTIVE]
    if query.name:
        conditions.append(versions.name == query.name)
    if query.run_id:
        conditions.append(versions.run_id == query.run_id)
    conditions.extend(_has_tag(key, value) for key, value in query.tags.items())
    conditions.extend(_has_folded_tag(key, value) for key, value in query.folded_tags.items())
    if after := read_token(query.page_token, (int, int, str)):
        time, number, name = after
        conditions.append(
            or_(
                versions.creation_timestamp < time,
                and_(versions.creation_timestamp == time, versions.version < number),
                and_(
                    versions.creation_timestamp == time,
                    versions.version == number,
                    versions.name > name,
                ),
            )
        )
    statement = (
        select(model_versions)
        .where(*conditions)
        .order_by(versions.creation_timestamp.desc(), versions.version.desc(), versions.name)
        .limit(query.max_results + 1)
    )
    found = _load_versions(connection, statement)
    items = found[: query.max_results]
    token = ""
    if len(found) > len(items):
        last = items[-1]
        token = write_token(last.creation_timestamp or 0, int(last.version), last.name)
    return Page(items=tuple(items), next_page_token=token)


def select_models(
    connection: Connection, *conditions: ColumnElement[bool], limit: int | None = None
) -> list[RegisteredModel]:
    """Read the registered models that meet the conditions, by name."""
    rows = connection.execute(
        select(registered_models).where(*conditions).order_by(registered_models.c.name).limit(limit)
    ).all()
    tags: dict[str, dict[str, str]] = {row.name: {} for row in rows}
    aliases: dict[str, dict[str, str]] = {row.name: {} for row in rows}
    names = list(tags)
    for start in range(0, len(names), _ROWS_PER_STATEMENT):
        part = names[start : start + _ROWS_PER_STATEMENT]
        for tag in connection.execute(
            select(registered_model_tags).where(registered_model_tags.c.name.in_(part))
        ):
            tags[tag.name][tag.key] = tag.value
        for alias in connection.execute(
            select(model_aliases).where(model_aliases.c.name.in_(part))
        ):
            aliases[alias.name][alias.alias] = str(alias.version)
    return [
        RegisteredModel(
            name=row.name,
            description=row.description,
            tags=tags[row.name],
            aliases=aliases[row.name],
            creation_timestamp=row.creation_timestamp,
        )
        for row in rows
    ]


def search_models(connection: Connection, query: ModelQuery) -> Page[RegisteredModel]:
    """Give one page of models by name; raises InvalidInputError for an unknown token."""
    conditions = []
    name = registered_models.c.name
    if query.prefix:
        conditions.append(func.substr(name, 1, len(query.prefix)) == query.prefix)
    conditions.extend(name > after for after in read_token(query.page_token, (str,)))
    found = select_models(connection, *conditions, limit=query.max_results + 1)
    items = found[: query.max_results]
    token = write_token(items[-1].name) if len(found) > len(items) else ""
    return Page(items=tuple(items), next_page_token=token)


def _has_tag(key: str, value: str) -> ColumnElement[bool]:
    return _tagged(key, model_version_tags.c.value == value)


def _has_folded_tag(key: str, value: str) -> ColumnElement[bool]:
    # Both databases lower ASCII letters only: SQLite always, PostgreSQL in collation C.
    return _tagged(key, func.lower(model_version_tags.c.value) == fold(value))


def _tagged(key: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    tags = model_version_tags.c
    return exists().where(
        tags.name == model_versions.c.name,
        tags.version == model_versions.c.version,
        tags.key == key,
        condition,
    )


def _load_versions(connection: Connection, statement: Select[Any]) -> list[ModelVersion]:
    rows = connection.execute(statement).all()
    found: list[ModelVersion] = []
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        found.extend(_complete(connection, rows[start : start + _ROWS_PER_STATEMENT]))
    return found


def _complete(connection: Connection, rows: Sequence[Row[Any]]) -> list[ModelVersion]:
    tags: dict[tuple[str, int], dict[str, str]] = {(row.name, row.version): {} for row in rows}
    aliases: dict[tuple[str, int], list[str]] = {key: [] for key in tags}
    names = {row.name for row in rows}
    numbers = {row.version for row in rows}
    for tag in connection.execute(
        select(model_version_tags).where(
            model_version_tags.c.name.in_(names), model_version_tags.c.version.in_(numbers)
        )
    ):
        if (owner := (tag.name, tag.version)) in tags:
            tags[owner][tag.key] = tag.value
    for alias in connection.execute(
        select(model_aliases)
        .where(model_aliases.c.name.in_(names), model_aliases.c.version.in_(numbers))
        .order_by(model_aliases.c.alias)
    ):
        if (owner := (alias.name, alias.version)) in aliases:
            aliases[owner].append(alias.alias)
    return [
        ModelVersion(
            name=row.name,
            version=str(row.version),
            source_uri=row.source_uri,
            run_id=row.run_id,
            model_id=row.model_id,
            description=row.description,
            tags=tags[row.name, row.version],
            aliases=tuple(aliases[row.name, row.version]),
            creation_timestamp=row.creation_timestamp,
        )
        for row in rows
    ]
