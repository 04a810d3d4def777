"""Changing what is registered: tags, aliases, stages, deletions."""

from collections.abc import Mapping
from typing import Any

from hokusai_core import limits, model_tags, validation
from hokusai_core.entities import ModelVersion
from hokusai_core.errors import InvalidInputError, ModelNotFoundError, TransientError
from hokusai_core.model_ids import alone_with
from hokusai_core.operations import (
    DeleteAlias,
    DeleteModelVersion,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
)
from hokusai_core.registry_lookups import ModelLookups


class ModelEdits(ModelLookups):
    """Writes to what is registered already. In an outage they wait, in order."""

    def set_model_version_tags(
        self, name: str, version: str | int, tags: Mapping[str, Any]
    ) -> None:
        """Set tags of a version; the last value stays. At most 100,000 characters each.

        Raises:
            AlreadyExistsError: A ``model_id`` among them is another version's.
        """
        operation = SetModelVersionTags(
            name=validation.model_name(name),
            version=validation.version(version),
            tags=validation.registry_tags(tags),
        )
        model_id = operation.tags.get(model_tags.MODEL_ID, "")
        with alone_with(self.runtime, model_id, operation.name, operation.version):
            self.runtime.router.write(operation)

    def update_model_tags(
        self, model_name: str, version: str | int, tags: Mapping[str, Any]
    ) -> None:
        """Set tags of a version, those of a tokenized model checked.

        Args:
            model_name: The registered model.
            version: A number, or the provisional id of a waiting version.
            tags: Values become text; a ``hokusai_token_id`` is stored in capitals.

        Raises:
            InvalidInputError: A value is wrong. Nothing was written.
            AlreadyExistsError: A ``model_id`` among them is another version's.
            ModelNotFoundError: There is no such version.
        """
        checked = validation.registry_tags(tags)
        if not checked:
            raise InvalidInputError("update_model_tags needs at least one tag.")
        model_tags.check_known_tags(checked)
        if token_id := checked.get(model_tags.TOKEN_ID):
            checked[model_tags.TOKEN_ID] = model_tags.normalize_token_id(token_id)
        self.set_model_version_tags(model_name, version, checked)

    def set_registered_model_tags(self, name: str, tags: Mapping[str, Any]) -> None:
        """Set tags of a registered model; the last value stays. At most 5000 characters each."""
        self.runtime.router.write(
            SetRegisteredModelTags(
                name=validation.model_name(name),
                tags=validation.registry_tags(tags, limit=limits.DESCRIPTION_CHARACTERS),
            )
        )

    def set_alias(self, name: str, alias: str, version: str | int, *, force: bool = False) -> None:
        """Let an alias point to a version.

        Args:
            name: The registered model.
            alias: Letters, digits, underscores and dashes; not ``latest``, not ``v1``.
            version: A number, or the provisional id of a waiting version.
            force: In an outage: move it on delivery, wherever it points by then. Not set, an alias
                that somebody else moved meanwhile is left alone, and the move becomes a dead letter.
        """
        self._move_alias(name, alias, version, force=force)

    def _move_alias(self, name: str, alias: str, version: str | int, *, force: bool) -> str:
        """Move an alias; gives the ``op_id`` of a move that waits, "" for one that is done."""
        checked, checked_alias = validation.model_name(name), validation.alias(alias)
        move = SetAlias(
            name=checked,
            alias=checked_alias,
            version=validation.version(version),
            expected=self.runtime.registry.known_alias(checked, checked_alias),
            force=force,
        )
        return "" if self.runtime.router.write(move).state == "delivered" else move.op_id

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; one that is gone is a success."""
        checked, checked_alias = validation.model_name(name), validation.alias(alias)
        self.runtime.router.write(
            DeleteAlias(
                name=checked,
                alias=checked_alias,
                expected=self.runtime.registry.known_alias(checked, checked_alias),
            )
        )

    def rollback_model(self, model_type: str, target_model_id: str, *, force: bool = False) -> bool:
        """Make a model the production version of its type.

        The alias ``production`` moves to it, and its tag ``lifecycle_stage`` becomes ``Production``;
        that of the version which was current before becomes ``Archived``. In an outage all of it
        waits. Where somebody else moves the alias meanwhile, it is left alone, and neither the move nor
        the tags are made: they become dead letters.

        Args:
            model_type: Name of the registered model.
            target_model_id: Hokusai's id of the version to go back to.
            force: In an outage: move the alias on delivery, wherever it points by then, also where
                that is not known now. What is not known is not archived.

        Returns:
            True; False where the target is of another type, and nothing was changed.

        Raises:
            ModelNotFoundError: No version carries the id.
            TransientError: The primary is away, and without it the model is not known, or, unless
                ``force`` is set, where the alias points. Nothing was changed.
        """
        name = validation.model_name(model_type)
        target = self.get_model_by_id(target_model_id)
        if name not in (target.name, target.model_type):
            return False
        try:
            current = self._surely_current(target.name)
        except TransientError:
            if not force:
                raise
            current = None
        version = target.registry_version
        move = self._move_alias(target.name, model_tags.PRODUCTION_ALIAS, version, force=force)
        self._set_stage(target.name, version, "Production", move)
        if current and current.version != version:
            self._set_stage(current.name, current.version, "Archived", move)
        return True

    def _surely_current(self, name: str) -> ModelVersion | None:
        """Give the production version, else the newest; in an outage a newer one may be unknown."""
        registry = self.runtime.registry
        try:
            return registry.get_version_by_alias(name, model_tags.PRODUCTION_ALIAS)
        except ModelNotFoundError:
            newest = registry.newest_version(name)
        known_here = newest is not None and newest.source == "fallback" and newest.version.isdigit()
        return None if known_here else newest

    def delete_model_version(self, model_id: str) -> bool:
        """Delete the version with one of Hokusai's model ids; its alias goes with it.

        Returns:
            True: it is deleted, or will be once the primary is back.

        Raises:
            ModelNotFoundError: No version carries the id.
            TransientError: The primary is away, and the model is not known without it.
        """
        entry = self.get_model_by_id(model_id)
        self.runtime.router.write(
            DeleteModelVersion(name=entry.name, version=entry.registry_version)
        )
        return True

    def _set_stage(self, name: str, version: str, stage: str, move: str) -> None:
        """Tag a version with its stage, behind the move of the alias that is the reason for it."""
        self.runtime.router.write(
            SetModelVersionTags(
                name=name, version=version, tags={model_tags.LIFECYCLE_STAGE: stage}, follows=move
            )
        )
