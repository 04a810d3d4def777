"""Registering models: baselines, improvements, and any version."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hokusai_core import limits, model_tags, validation
from hokusai_core.entities import ModelVersion
from hokusai_core.errors import (
    AlreadyExistsError,
    InvalidInputError,
    TransientError,
    UnavailableError,
)
from hokusai_core.identifiers import OP_ID_TAG, new_op_id
from hokusai_core.metadata_objects import is_metadata_object, own_metrics
from hokusai_core.model_ids import alone_with, taken
from hokusai_core.model_sources import ModelSource
from hokusai_core.operations import DeleteModelVersion
from hokusai_core.queries import VersionQuery
from hokusai_core.registry_edits import ModelEdits
from hokusai_core.registry_entry import ModelRegistryEntry
from hokusai_core.versions import register_version

_FIRST_VERSION = "1.0.0"


class ModelRegistrations(ModelEdits):
    """The registrations. Each creates a version with all its tags in one request, or none."""

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
            model_id: Hokusai's id of the model; that among ``tags``, the object's own, or a new one.
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
        name = _model_type(model_type, model_name)
        more_tags = validation.registry_tags(tags)
        model_id = _chosen_id(model_id, more_tags)
        entry_tags = self._own_tags(model, name, model_id, version, metrics) | {
            "is_baseline": "true",
            "metadata": model_tags.json_tag(metadata or {}, "metadata"),
        }
        return self._entry(
            self.register_model(
                model,
                name,
                tags=more_tags | entry_tags,
                description=_cut(f"Baseline model {entry_tags[model_tags.MODEL_ID]}"),
                model_description=f"Hokusai model type: {name}",
                **save_options,
            )
        )

    def register_improved_model(
        self,
        model: Any,
        baseline_id: str,
        delta_metrics: Mapping[str, float],
        contributor: str,
        *,
        model_id: str | None = None,
        version: str | None = None,
        metrics: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        **save_options: Any,
    ) -> ModelRegistryEntry:
        """Register an improvement of a model, under the baseline's type.

        Args:
            model: As in :meth:`register_baseline`.
            baseline_id: Hokusai's id of the model that it improves on.
            delta_metrics: By how much each metric changed; kept as JSON in a tag.
            contributor: Address of who contributed the data.
            model_id: Hokusai's id of the model; that among ``tags``, the object's own, or a new one.
            version: The model's own version; the object's own, or "1.0.0".
            metrics: Kept as JSON in the tag ``metrics``; the object's own where it tells them.
            tags: More tags of the version.
            save_options: As of :meth:`RunHandle.log_model`.

        Raises:
            InvalidInputError: A value is wrong. Nothing was registered.
            ModelNotFoundError: The baseline is not registered.
            AlreadyExistsError: The ``model_id`` is registered already.
            TransientError: The primary is away, and the baseline is not known without it.
        """
        deltas = {
            validation.key(name, "metric"): validation.metric_value(value, str(name))
            for name, value in validation.mapping(delta_metrics, "delta_metrics").items()
        }
        address = validation.text(contributor, "contributor", empty=False)
        more_tags = validation.registry_tags(tags)
        _refuse_nothing(model)
        baseline = self.get_model_by_id(baseline_id)
        model_id = _chosen_id(model_id, more_tags)
        own = self._own_tags(model, baseline.model_type, model_id, version, metrics)
        entry_tags = own | {
            "is_baseline": "false",
            model_tags.BASELINE_ID: baseline.model_id,
            "delta_metrics": model_tags.json_tag(deltas, "delta_metrics"),
            "contributor_address": address,
        }
        if own[model_tags.MODEL_ID] == baseline.model_id:
            raise AlreadyExistsError(
                f"model_id {baseline.model_id!r} is the baseline's own. Choose another."
            )
        return self._entry(
            self.register_model(
                model,
                baseline.name,
                tags=more_tags | entry_tags,
                description=_cut(
                    f"Improved model {own[model_tags.MODEL_ID]} based on {baseline.model_id}"
                ),
                **save_options,
            )
        )

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
            tags: Of the version; they appear together with it. A ``model_id`` must be new.
            description: Of the version; at most 5000 characters.
            model_description: Of the registered model, where it is created.
            save_options: ``flavor``, ``signature``, ``input_example``, ``pip_requirements``.

        Returns:
            The version; ``pending``, with a provisional id, while the server is away.

        Raises:
            InvalidInputError: A value is wrong. Nothing was registered.
            AlreadyExistsError: The ``model_id`` among the tags is registered already.
        """
        name = validation.model_name(name)
        checked = validation.registry_tags(tags)
        text = _description(description)
        model_text = _description(model_description)
        _refuse_nothing(model)
        with alone_with(self.runtime, checked.get(model_tags.MODEL_ID, "")):
            source = self._sources.locate(model, name, save_options)
            return self._create_version(name, source, checked, text, model_text)

    def register_baseline_via_api(
        self, model_type: str, mlflow_run_id: str, metadata: Mapping[str, Any] | None = None
    ) -> ModelRegistryEntry:
        """Let the Hokusai API register a run's model as a baseline.

        This asks ``{api_endpoint}/api/v1/models/baseline`` with the API key, whatever the backend.
        The service registers the model, so nothing waits here while it is away.

        Args:
            model_type: Name of the registered model.
            mlflow_run_id: The run that holds the model, by the primary's id.
            metadata: Sent as it is; must be JSON.

        Returns:
            What the service tells of the entry.

        Raises:
            AuthenticationError: There is no key, or it is not accepted (401).
            PermissionDeniedError: The key may not do this (403).
            RateLimitedError: The service asks to come back later (429).
            UnavailableError: The service gave no usable answer (not reached, 5xx).
            PermanentError: The service refuses.
        """
        name = validation.model_name(model_type)
        run_id = validation.run_id(mlflow_run_id)
        details = dict(validation.mapping(metadata, "metadata"))
        model_tags.json_tag(details, "metadata")
        from hokusai_core.endpoint import Endpoint  # it imports ssl and http

        answer = Endpoint(self.runtime.settings).post(
            "/api/v1/models/baseline",
            {"model_type": name, "mlflow_run_id": run_id, "metadata": details},
        )
        return _entry_of_answer(answer, run_id)

    def _own_tags(
        self,
        model: Any,
        model_type: str,
        model_id: str | None,
        version: str | None,
        metrics: Mapping[str, Any] | None,
    ) -> dict[str, str]:
        """Make the tags that every registration has; a ``model_id`` that nobody gave is a new one."""
        _refuse_nothing(model)
        if model_id is None and is_metadata_object(model) and model.model_id is not None:
            model_id = str(model.model_id)
        if model_id is None:
            model_id = f"{model_type}-{new_op_id()}"
        found = metrics if metrics is not None else own_metrics(model)
        return validation.registry_tags(
            {
                model_tags.MODEL_ID: validation.text(model_id, "model_id", empty=False),
                "model_type": model_type,
                "version": version or str(getattr(model, "version", "") or _FIRST_VERSION),
                "metrics": model_tags.json_tag(found, "metrics"),
                "timestamp": datetime.now(UTC).isoformat(),
            }
        )

    def _create_version(
        self,
        name: str,
        source: ModelSource,
        tags: dict[str, str],
        description: str | None,
        model_description: str | None,
    ) -> ModelVersion:
        made = register_version(
            self.runtime,
            name,
            source=source.uri,
            run_id=source.run_id,
            model_id=source.model_id,
            tags=tags,
            description=description,
            model_description=model_description,
        )
        if model_id := tags.get(model_tags.MODEL_ID):
            self._withdraw_if_second(made, model_id)
        return made

    def _withdraw_if_second(self, made: ModelVersion, model_id: str) -> None:
        """Take a version back where another process registered the same id at the same time.

        Both look after they have written, so at least one of them sees the other.
        """
        query = VersionQuery(tags={model_tags.MODEL_ID: model_id})
        try:
            found = self.runtime.registry.in_order_of_coming(query)
        except TransientError:
            return
        op_id = made.tags.get(OP_ID_TAG, "")
        first = next(iter(found), made)
        if op_id not in {each.tags.get(OP_ID_TAG) for each in found[1:]}:
            return
        fallback = self.runtime.fallback
        if made.sync_state == "delivered" or not (fallback and fallback.discard((op_id,))):
            self.runtime.router.write(DeleteModelVersion(name=made.name, version=made.version))
        raise taken(model_id, first)


def _chosen_id(model_id: str | None, tags: Mapping[str, str]) -> str | None:
    """Give the model id that the caller chose: as an argument, or among the tags."""
    tagged = tags.get(model_tags.MODEL_ID)
    if model_id is not None and tagged is not None and tagged != model_id:
        raise InvalidInputError(
            f"model_id is given as {model_id!r}, and as {tagged!r} among the tags: give it once."
        )
    return tagged if model_id is None else model_id


def _entry_of_answer(answer: Mapping[str, Any], run_id: str) -> ModelRegistryEntry:
    try:
        return ModelRegistryEntry(
            model_id=answer["model_id"],
            model_type=answer["model_type"],
            version=str(answer["version"]),
            is_baseline=True,
            metrics=answer.get("metrics") or {},
            timestamp=answer.get("timestamp") or "",
            mlflow_version=str(answer.get("mlflow_version") or ""),
            name=answer["model_type"],
            registry_version=str(answer.get("mlflow_version") or ""),
            run_id=run_id,
        )
    except (KeyError, ValueError) as cause:
        raise UnavailableError(
            "The service's answer to a baseline registration is not as expected: it must tell "
            "model_id, model_type and version.",
            maybe_applied=True,
        ) from cause


def _model_type(model_type: str | None, model_name: str | None) -> str:
    if model_type and model_name and model_type != model_name:
        raise InvalidInputError(
            f"model_type {model_type!r} and model_name {model_name!r} differ; give one."
        )
    name = model_type or model_name
    if not name:
        raise InvalidInputError("register_baseline needs a model_type.")
    return validation.model_name(name)


def _refuse_nothing(model: Any) -> None:
    if model is None or (isinstance(model, str) and not model.strip()):
        raise InvalidInputError("A registration needs a model: an object, a folder, or a URI.")


def _description(value: str | None) -> str | None:
    if value is None:
        return None
    return validation.text(value, "The description", limit=limits.DESCRIPTION_CHARACTERS)


def _cut(text: str) -> str:
    return text[: limits.DESCRIPTION_CHARACTERS]
