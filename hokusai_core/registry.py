"""``ModelRegistry``: registered models, their versions, aliases and tags."""

import json
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hokusai_core import limits, validation
from hokusai_core.entities import ModelVersion, RegisteredModel
from hokusai_core.errors import (
    AlreadyExistsError,
    ConfigurationError,
    InvalidInputError,
    ModelNotFoundError,
    TransientError,
)
from hokusai_core.experiments import ExperimentManager
from hokusai_core.identifiers import new_op_id
from hokusai_core.model_files import is_metadata_object, load_model
from hokusai_core.model_sources import ModelSources, own_metrics
from hokusai_core.operations import (
    DeleteAlias,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
)
from hokusai_core.queries import ModelQuery, VersionQuery
from hokusai_core.registry_entry import ModelRegistryEntry
from hokusai_core.resolution import select_backends, settings_with, sort_arguments
from hokusai_core.run_handle import RunHandle
from hokusai_core.runtime import Runtime
from hokusai_core.settings import Delivery, Durability, Settings
from hokusai_core.versions import register_version

REGISTRATION_EXPERIMENT = "hokusai_model_registrations"
"""The experiment of the runs that hold models which were registered as objects."""


class ModelRegistry:
    """Registers models and finds them again.

    Safe to use from several threads. Making one does no I/O.

    Args:
        tracking_uri: Address of the MLflow server; not given, settings decide.
        api_key: Key of the Hokusai endpoint, sent as a bearer token by this object only.
        api_endpoint: The Hokusai endpoint.
        auth: An object with ``api_key`` and ``api_endpoint``, in the place of the two.
        backend: Name of the backend, its plugin, or a mock backend; not given, settings decide.
        settings: All settings; not given, they are read from the environment.
        delivery: ``direct`` or ``queued``; not given, settings decide (``HOKUSAI_DELIVERY``).
        durability: ``machine``, ``process`` or ``relaxed``; not given, settings decide
            (``HOKUSAI_DURABILITY``).
        observers: Are told of what happens to the registry, and to what waits for it, in this
            process: see :class:`~hokusai_core.observer_hooks.ObserverHooks`.

    Raises:
        ConfigurationError: An argument or setting is wrong, or a backend cannot be used.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        api_key: str | None = None,
        api_endpoint: str | None = None,
        auth: Any = None,
        *,
        backend: object = None,
        settings: Settings | None = None,
        delivery: Delivery | None = None,
        durability: Durability | None = None,
        observers: Iterable[object] = (),
    ) -> None:
        if tracking_uri is not None and not isinstance(tracking_uri, str):
            raise ConfigurationError(
                f"tracking_uri must be a str, not {type(tracking_uri).__name__}."
            )
        given = sort_arguments(None, tracking_uri, None, None)
        if auth is not None:
            api_key = api_key or getattr(auth, "api_key", None)
            api_endpoint = api_endpoint or getattr(auth, "api_endpoint", None)
        selection = select_backends(
            settings=settings_with(
                settings,
                api_key=api_key,
                api_endpoint=api_endpoint,
                delivery=delivery,
                durability=durability,
            ),
            tracking_uri=given.tracking_uri,
            backend=backend,
        )
        self.runtime = Runtime.shared(selection)
        self.runtime.observers.add(observers)
        self._sources = ModelSources(self.runtime, self._start_registration_run)

    def __repr__(self) -> str:
        return f"<ModelRegistry on {self.runtime.destination}>"

    @property
    def tracking_uri(self) -> str:
        """Address of the tracking server; its identity where the backend's default is used."""
        return self.runtime.selection.tracking_uri or self.runtime.destination

    def register_baseline(
        self,
        model: Any = None,
        model_type: str | None = None,
        model_name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        model_id: str | None = None,
        version: str | None = None,
        metrics: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        **save_options: Any,
    ) -> ModelRegistryEntry:
        """Register a baseline model under its type.

        Args:
            model: A Hokusai-style model object (``model_id``, ``version``, ``get_metrics()``), a
                model that MLflow's flavours save, a folder with a saved model, or a model URI.
            model_type: Name of the registered model.
            model_name: The same, as older code calls it.
            metadata: Kept as JSON in the version's tag ``metadata``.
            model_id: Hokusai's id of the model; the object's own, or a new one.
            version: The model's own version; the object's own, or "1.0.0".
            metrics: Kept as JSON in the tag ``metrics``; the object's own where it tells them.
            tags: More tags of the version.
            save_options: As of :meth:`RunHandle.log_model`.

        Returns:
            The entry, ``pending`` while the server is away: then without an ``mlflow_version``.

        Raises:
            InvalidInputError: No model, no type, or a value is wrong. Nothing was registered.
            AlreadyExistsError: The ``model_id`` is registered already.
        """
        if model is None:
            raise InvalidInputError("register_baseline needs a model.")
        name = self._model_type(model_type, model_name)
        own_id = model_id or (str(model.model_id) if is_metadata_object(model) else None)
        found_metrics = metrics if metrics is not None else own_metrics(model)
        entry_tags = {
            "model_id": own_id or f"{name}-{new_op_id()[:12]}",
            "model_type": name,
            "version": version or str(getattr(model, "version", "") or "1.0.0"),
            "is_baseline": "true",
            "metrics": _json(found_metrics, "metrics"),
            "timestamp": datetime.now(UTC).isoformat(),
            "metadata": _json(metadata or {}, "metadata"),
        }
        checked = validation.registry_tags(tags) | validation.registry_tags(entry_tags)
        if own_id:
            self._refuse_known(own_id)
        registered = self.register_model(
            model,
            name,
            tags=checked,
            description=f"Baseline model {checked['model_id']}",
            model_description=f"Hokusai model type: {name}",
            **save_options,
        )
        return ModelRegistryEntry.from_version(registered)

    def register_model(
        self,
        model: Any,
        name: str,
        *,
        tags: Mapping[str, Any] | None = None,
        description: str | None = None,
        model_description: str | None = None,
        **save_options: Any,
    ) -> ModelVersion:
        """Register a new version of a model.

        Args:
            model: A model URI (``runs:/id/path``, ``models:/m-...``, an object store's), what
                :meth:`RunHandle.log_model` returned, a folder with a saved model, or a model object,
                which is logged under a run of its own first.
            name: The registered model; it is created where there is none.
            tags: Of the version; they appear together with it.
            description: Of the version; at most 5000 characters.
            model_description: Of the registered model, where it is created.
            save_options: ``flavor``, ``signature``, ``input_example``, ``pip_requirements``.

        Returns:
            The version; ``pending``, with a provisional id, while the server is away.

        Raises:
            InvalidInputError: A value is wrong. Nothing was registered.
        """
        name = validation.model_name(name)
        checked = validation.registry_tags(tags)
        text = _description(description)
        model_text = _description(model_description)
        source = self._sources.locate(model, name, save_options)
        return register_version(
            self.runtime,
            name,
            source=source.uri,
            run_id=source.run_id,
            model_id=source.model_id,
            tags=checked,
            description=text,
            model_description=model_text,
        )

    def load_model(self, model_uri: str) -> Any:
        """Load a model as an MLflow ``pyfunc``, also one that still waits for the server.

        Args:
            model_uri: ``models:/name/version``, ``models:/name@alias``, ``models:/m-...`` or
                ``runs:/run_id/path``.

        Raises:
            ModelNotFoundError: There is no such model.
            BackendNotInstalledError: MLflow is not installed.
        """
        with tempfile.TemporaryDirectory(prefix="hokusai-model-") as folder:
            return load_model(self.download_model(model_uri, folder))

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
        """List registered models by name, with those that still wait."""
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

        Args:
            name: Of this model; "" for all.
            tags: With exactly these tag values; any characters are data.
            run_id: Of this run; "" for all.
            max_results: At most 10,000.
        """
        query = VersionQuery(
            name=validation.model_name(name) if name else "",
            tags=validation.registry_tags(tags),
            run_id=validation.run_id(run_id) if run_id else "",
            max_results=validation.count(max_results, "max_results", 10_000),
        )
        return list(self.runtime.registry.search_versions(query))

    def get_model_by_id(self, model_id: str) -> ModelRegistryEntry:
        """Get the entry with one of Hokusai's model ids.

        Raises:
            ModelNotFoundError: No version carries the id.
        """
        checked = validation.text(model_id, "model_id", empty=False)
        found = self.search_model_versions(tags={"model_id": checked}, max_results=1)
        if not found:
            raise ModelNotFoundError(f"Model not found: {checked}.")
        return ModelRegistryEntry.from_version(found[0])

    def set_model_version_tags(
        self, name: str, version: str | int, tags: Mapping[str, Any]
    ) -> None:
        """Set tags of a version; the last value stays. At most 100,000 characters each."""
        self.runtime.router.write(
            SetModelVersionTags(
                name=validation.model_name(name),
                version=validation.version(version),
                tags=validation.registry_tags(tags),
            )
        )

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
        checked, checked_alias = validation.model_name(name), validation.alias(alias)
        self.runtime.router.write(
            SetAlias(
                name=checked,
                alias=checked_alias,
                version=validation.version(version),
                expected=self.runtime.registry.known_alias(checked, checked_alias),
                force=force,
            )
        )

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

    def _start_registration_run(self, run_name: str) -> RunHandle:
        manager = ExperimentManager(self, experiment_name=REGISTRATION_EXPERIMENT)
        return manager.start_run(run_name=run_name)

    def _model_type(self, model_type: str | None, model_name: str | None) -> str:
        if model_type and model_name and model_type != model_name:
            raise InvalidInputError(
                f"model_type {model_type!r} and model_name {model_name!r} differ; give one."
            )
        name = model_type or model_name
        if not name:
            raise InvalidInputError("register_baseline needs a model_type.")
        return validation.model_name(name)

    def _refuse_known(self, model_id: str) -> None:
        try:
            known = self.search_model_versions(tags={"model_id": model_id}, max_results=1)
        except TransientError:
            return
        if known:
            raise AlreadyExistsError(
                f"model_id {model_id!r} is registered already, as {known[0].name} version "
                f"{known[0].version}. Choose another, or leave it out."
            )


def _json(value: Any, what: str) -> str:
    try:
        return json.dumps(dict(value), default=_plain)
    except (TypeError, ValueError) as cause:
        raise InvalidInputError(f"{what} cannot be written as JSON: {cause}.") from cause


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _description(value: str | None) -> str | None:
    if value is None:
        return None
    return validation.text(value, "The description", limit=limits.DESCRIPTION_CHARACTERS)
