"""Finding registered models and their versions, and loading them."""

import contextlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hokusai_core import model_tags, validation
from hokusai_core.entities import ModelVersion, RegisteredModel
from hokusai_core.errors import InvalidInputError, ModelNotFoundError, TransientError
from hokusai_core.kept_folders import keep_while_used
from hokusai_core.lineage import ModelLineage, trace
from hokusai_core.model_files import load_model
from hokusai_core.model_uris import parse_model_name, shown_uri
from hokusai_core.queries import ModelQuery, VersionQuery
from hokusai_core.registry_base import RegistryPart
from hokusai_core.registry_entry import ModelRegistryEntry


class ModelLookups(RegistryPart):
    """The reads of a registry: the primary's answers, with what waits laid over them.

    In an outage they answer from the journal, which knows what was registered through it, also in
    health. Where it knows nothing of what is asked, a :class:`TransientError` says that the primary
    is away; "not found" is only said where that is certain.
    """

    def load_model(self, model_uri: str) -> Any:
        """Load a model as an MLflow ``pyfunc``, also one that still waits for the server.

        Its files are in a temporary folder, which is removed when the model is no longer in use.

        Args:
            model_uri: ``models:/name/version``, ``models:/name@alias``, ``models:/m-...`` or
                ``runs:/run_id/path``.

        Raises:
            ModelNotFoundError: There is no such model.
            InvalidInputError: It holds nothing that MLflow loads, or this is no model URI.
            UnavailableError: The server is away, and has what is needed of the model.
            BackendNotInstalledError: MLflow is not installed.
        """
        folder = Path(tempfile.mkdtemp(prefix="hokusai-model-"))
        try:
            loaded = load_model(self.download_model(model_uri, folder), shown_uri(model_uri))
            keep_while_used(folder, *_parts(loaded))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return loaded

    def download_model(self, model_uri: str, dst: str | Path) -> Path:
        """Download a model's files, also those that still wait.

        Returns:
            The folder with the model.
        """
        folder = Path(dst)
        folder.mkdir(parents=True, exist_ok=True)
        return self._sources.download(model_uri, folder)

    def get_model_version(self, name: str, version: str | int) -> ModelVersion:
        """Get a version by its number, or by the provisional id of a waiting one.

        Raises:
            ModelNotFoundError: There is no such version.
            TransientError: The primary is away, and nothing is known of it without the primary.
        """
        return self.runtime.registry.get_version(
            validation.model_name(name), validation.version(version)
        )

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """Get the version that an alias points to.

        Raises:
            ModelNotFoundError: There is no such model or alias.
        """
        return self.runtime.registry.get_version_by_alias(
            validation.model_name(name), validation.alias(alias)
        )

    def get_registered_model(self, name: str) -> RegisteredModel:
        """Get a registered model with its tags and aliases.

        Raises:
            ModelNotFoundError: There is no such model.
        """
        return self.runtime.registry.get_registered_model(validation.model_name(name))

    def list_registered_models(
        self, prefix: str = "", max_results: int = 1000
    ) -> list[RegisteredModel]:
        """List registered models by name, with those that still wait.

        Where the primary is away, a WARNING says that the list holds only what is known here.

        Raises:
            TransientError: The primary is away, and there is no journal to answer from.
        """
        query = ModelQuery(
            prefix=validation.text(prefix, "prefix"),
            max_results=validation.count(max_results, "max_results", 1000),
        )
        return list(self.runtime.registry.list_registered_models(query))

    def search_model_versions(
        self,
        name: str = "",
        *,
        tags: Mapping[str, str] | None = None,
        run_id: str = "",
        max_results: int = 1000,
    ) -> list[ModelVersion]:
        """Search versions, with those that still wait; newest first.

        Where the primary is away, a WARNING says that the list holds only what is known here.

        Args:
            name: Of this model; "" for all.
            tags: With exactly these tag values; any characters are data.
            run_id: Of this run; "" for all.
            max_results: At most 10,000.

        Raises:
            TransientError: The primary is away, and there is no journal to answer from.
        """
        query = VersionQuery(
            name=validation.model_name(name) if name else "",
            tags=validation.registry_tags(tags),
            run_id=validation.run_id(run_id) if run_id else "",
            max_results=validation.count(max_results, "max_results", 10_000),
        )
        return list(self.runtime.registry.search_versions(query))

    def get_model_by_id(self, model_id: str) -> ModelRegistryEntry:
        """Get the entry with one of Hokusai's model ids, with one query.

        A version without a tag ``model_id`` has the id ``name/version``, as its entry shows it.

        Raises:
            ModelNotFoundError: No version carries the id.
            TransientError: The primary is away, and the id is not known without it.
        """
        checked = validation.text(model_id, "model_id", empty=False)
        query = VersionQuery(tags={model_tags.MODEL_ID: checked})
        try:
            found = self.runtime.registry.find_version(query)
        except TransientError:
            found = self._without_id(checked)
            if found is None:
                raise
        found = found or self._without_id(checked)
        if found is None:
            raise ModelNotFoundError(f"Model not found: {checked}.")
        return self._entry(found)

    def _without_id(self, model_id: str) -> ModelVersion | None:
        """Give the version that an id ``name/version`` means: it has no other, in a tag."""
        try:
            reference = parse_model_name(model_id)
        except InvalidInputError:
            return None
        if reference.kind != "version" or model_id != f"{reference.name}/{reference.version}":
            return None
        try:
            found = self.runtime.registry.get_version(reference.name, reference.version)
        except ModelNotFoundError:
            return None
        return None if model_tags.MODEL_ID in found.tags else found

    def get_model_lineage(self, model_id: str) -> ModelLineage:
        """Follow a model back to its first baseline.

        Raises:
            ModelNotFoundError: No version carries the id.
            TransientError: The primary is away, and the model or one of its baselines is not known
                without it.
        """
        last = self.get_model_by_id(model_id)
        near: dict[str, ModelRegistryEntry] = {}
        if last.baseline_id and last.source == "fallback":
            # One look into the journal, instead of one for each baseline.
            known = self.runtime.registry.in_order_of_coming(VersionQuery(name=last.name))
            near = {entry.model_id: entry for entry in map(self._entry, known)}

        def find(baseline_id: str) -> ModelRegistryEntry:
            return near.get(baseline_id) or self.get_model_by_id(baseline_id)

        return trace(last, find)

    def list_models_by_type(self, model_type: str) -> list[ModelRegistryEntry]:
        """List all versions of a type, newest first; [] where there is no such type.

        Raises:
            TransientError: The primary is away, and nothing of the type is known without it.
        """
        query = VersionQuery(name=validation.model_name(model_type))
        return [self._entry(version) for version in self.runtime.registry.all_versions(query)]

    def get_latest_model(self, model_type: str) -> ModelRegistryEntry | None:
        """Get the version with the alias ``production``, else the newest; None where there is none.

        Versions that wait are newer than those that have a number. In an outage the alias is the one
        that this process saw last, or that the journal knows; where there was none, a WARNING says
        that the newest is the newest that is known here.

        Raises:
            TransientError: The primary is away, and without it nothing is known of the alias, or
                nothing of the type.
        """
        name = validation.model_name(model_type)
        try:
            version = self.runtime.registry.get_version_by_alias(name, model_tags.PRODUCTION_ALIAS)
            return self._entry(version)
        except ModelNotFoundError:
            pass
        newest = self.runtime.registry.newest_version(name)
        return self._entry(newest) if newest else None


def _parts(loaded: Any) -> tuple[Any, ...]:
    """Give a loaded model, and the model inside it, which a caller may take out and keep alone."""
    parts = [loaded]
    for method in ("get_raw_model", "unwrap_python_model"):
        # A flavour that has none to give says so in its own way.
        with contextlib.suppress(Exception):
            parts.append(getattr(loaded, method)())
    return tuple(part for part in parts if part is not None)
