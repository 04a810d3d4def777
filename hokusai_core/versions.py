"""Creating a version of a registered model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hokusai_core.entities import ModelVersion
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.operations import CreateModelVersion, CreateRegisteredModel

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime


def register_version(
    runtime: "Runtime",
    name: str,
    *,
    source: str,
    run_id: str | None = None,
    model_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    description: str | None = None,
    model_description: str | None = None,
) -> ModelVersion:
    """Get or create a registered model, and create a version of it with all its tags.

    Args:
        runtime: The machinery.
        name: The registered model; checked already, as is everything here.
        source: A URI of the model's files.
        run_id: The run that it came from.
        model_id: The logged model, for a ``models:/`` source.
        tags: Of the version.
        description: Of the version.
        model_description: Of the registered model, where it is created.

    Returns:
        The version; with a provisional id while its ``sync_state`` is ``pending``.
    """
    model = CreateRegisteredModel(name=name, description=model_description)
    runtime.router.write(model)
    creation = CreateModelVersion(
        name=name,
        source=source,
        run_id=run_id,
        model_id=model_id,
        description=description,
        tags=dict(tags or {}),
    )
    result = runtime.router.write(creation)
    return ModelVersion(
        name=name,
        version=result.identifier,
        source_uri=source,
        run_id=run_id,
        model_id=model_id,
        description=description or "",
        tags=creation.tags | {OP_ID_TAG: creation.op_id},
        creation_timestamp=creation.created_at,
        source="primary" if result.state == "delivered" else "fallback",
        sync_state=result.state,
    )
