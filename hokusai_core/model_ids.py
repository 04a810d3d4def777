"""Hokusai's own ids of models: each is that of one version."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hokusai_core.entities import ModelVersion
from hokusai_core.errors import AlreadyExistsError, TransientError
from hokusai_core.model_tags import MODEL_ID
from hokusai_core.queries import VersionQuery
from hokusai_core.registry_index import ids_of

if TYPE_CHECKING:
    from hokusai_core.runtime import Runtime


@contextlib.contextmanager
def alone_with(
    runtime: "Runtime", model_id: str, name: str = "", version: str = ""
) -> Iterator[None]:
    """Give a version a model id while no other thread gives the same away, if no other version has it.

    Args:
        runtime: The machinery.
        model_id: The id; "" for none.
        name: The registered model whose version gets the id, where that is there already.
        version: That version, by its number or its provisional id; "" for one that is to be made.

    Raises:
        AlreadyExistsError: Another version has it. Where the primary is away: by what is known here.
    """
    if not model_id:
        yield
        return
    with runtime.streams.holding(f"model_id/{model_id}"):
        found: tuple[ModelVersion, ...] = ()
        with contextlib.suppress(TransientError):
            found = runtime.registry.in_order_of_coming(VersionQuery(tags={MODEL_ID: model_id}))
        own = {version, runtime.ids.primary_id(version) or version} if version else set()
        for other in found:
            if other.name != name or own.isdisjoint(ids_of(other)):
                raise taken(model_id, other)
        yield


def taken(model_id: str, known: ModelVersion) -> AlreadyExistsError:
    """Give the error that says who has a model id."""
    return AlreadyExistsError(
        f"model_id {model_id!r} is registered already, as {known.name} version {known.version}. "
        "Choose another, or leave it out."
    )
