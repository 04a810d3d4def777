"""The logged model that a version's source ``runs:/run_id/name`` means.

A model that a run logged has files of its own: below the run itself there are none, so a version
with such a source could never be loaded.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hokusai_core.clock import Deadline
from hokusai_core.entities import LoggedModel
from hokusai_core.errors import NotFoundError, TransientError
from hokusai_core.operations import CreateModelVersion

if TYPE_CHECKING:
    from hokusai_core.backends import OpenBackend


def last_named(models: Sequence[LoggedModel], name: str) -> str | None:
    """Give the id of the last one of a run's logged models that has a name; None without one."""
    return next((model.model_id for model in reversed(models) if model.name == name), None)


def of_logged_model(
    backend: "OpenBackend", operation: CreateModelVersion, deadline: Deadline
) -> CreateModelVersion:
    """Let a creation from ``runs:/run_id/name`` be one from the logged model of that name.

    The caller may not have known: the primary was away when the version was registered. A source
    that means files of the run itself stays, and so does one of a run that the primary lacks.

    Raises:
        TransientError: The primary did not say; nothing was created.
    """
    run_id, _, name = operation.source.removeprefix("runs:/").strip("/").partition("/")
    if not (operation.source.startswith("runs:/") and name and backend.can("logged_models")):
        return operation
    try:
        models = backend.tracking.tracking_find_run_models(run_id, deadline)
    except NotFoundError:
        return operation
    except TransientError as failure:
        failure.maybe_applied = False  # the creation was not sent
        raise
    model_id = last_named(models, name)
    if model_id is None:
        return operation
    return operation.model_copy(
        update={
            "source": f"models:/{model_id}",
            "run_id": operation.run_id or run_id,
            "model_id": model_id,
        }
    )
