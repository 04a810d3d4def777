"""Hypothesis strategies for operations: valid values, hard ones among them."""

from hypothesis import strategies as st

from hokusai_core import limits
from hokusai_core.identifiers import IdKind, provisional_id
from hokusai_core.operations import (
    TERMINAL_STATUSES,
    ArtifactOwner,
    CreateExperiment,
    CreateLoggedModel,
    CreateModelVersion,
    CreateRegisteredModel,
    CreateRun,
    DeleteAlias,
    DeleteModelVersion,
    FinalizeLoggedModel,
    LogArtifact,
    LogBatch,
    MetricPoint,
    Operation,
    SetAlias,
    SetModelVersionTags,
    SetRegisteredModelTags,
    UpdateRun,
)

__all__ = [
    "aliases",
    "artifact_paths",
    "floats",
    "ids",
    "keys",
    "metric_points",
    "model_names",
    "op_ids",
    "operations",
    "operations_of",
    "provisional_ids",
    "run_ids",
    "sources",
    "tags",
    "texts",
    "timestamps",
]

_STORABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
_KEY_CHARACTERS = st.sampled_from("abcXYZ019_-. :é模")
_SMALL = 8

op_ids = st.uuids(version=4).map(lambda value: value.hex)
"""Ids of operations."""

texts = st.one_of(
    st.sampled_from(["", "it's", 'say "hi"', "'\"", "\\", "%_", "naïve 模型 🚀", "a\nb", "null"]),
    st.text(_STORABLE, max_size=40),
)
"""Values of params and tags: quotes, control characters and any script, but no NUL."""

floats = st.one_of(
    st.sampled_from([0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, -1e-308]),
    st.floats(allow_nan=True, allow_infinity=True),
)
"""Values of metrics: NaN, infinities and -0.0 among them."""

timestamps = st.one_of(
    st.sampled_from([0, 1, 1_700_000_000_000, limits.TIMESTAMP_MAX]),
    st.integers(0, limits.TIMESTAMP_MAX),
)
"""Times in milliseconds since 1970, of up to 64 bits."""

_steps = st.one_of(
    st.sampled_from([0, 1, -1, limits.STEP_MIN, limits.STEP_MAX]),
    st.integers(limits.STEP_MIN, limits.STEP_MAX),
)


def _is_plain(key: str) -> bool:
    return bool(key.strip()) and key not in (".", "..") and not key.startswith("..")


_parts = st.text(_KEY_CHARACTERS, min_size=1, max_size=12).filter(_is_plain)

keys = st.lists(_parts, min_size=1, max_size=3).map("/".join)
"""Keys of metrics, params and tags; some with slashes."""

artifact_paths = st.lists(
    st.text(st.sampled_from("abc .-_ü'%#"), min_size=1, max_size=8).filter(_is_plain),
    min_size=1,
    max_size=3,
).map("/".join)
"""Relative paths of files."""

model_names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00/:"), min_size=1, max_size=20
).filter(_is_plain)
"""Names of registered models."""

aliases = st.text(st.sampled_from("abcXYZ_-é"), min_size=1, max_size=10).filter(
    lambda alias: alias.lower() != "latest"
)
"""Aliases of versions."""

tags = st.dictionaries(keys, texts, max_size=3)
"""Tags, and params."""

run_ids = st.one_of(op_ids, op_ids.map(lambda op_id: provisional_id(IdKind.RUN, op_id)))
"""Ids of runs, the primary's and provisional ones."""


def provisional_ids(kind: IdKind) -> st.SearchStrategy[str]:
    """Provisional ids of a kind."""
    return op_ids.map(lambda op_id: provisional_id(kind, op_id))


def ids(kind: IdKind) -> st.SearchStrategy[str]:
    """Ids of a kind, the primary's and provisional ones."""
    numbers = st.integers(1, 10**6).map(str)
    primary = {
        IdKind.EXPERIMENT: numbers,
        IdKind.RUN: op_ids,
        IdKind.VERSION: numbers,
        IdKind.MODEL: op_ids.map("m-{}".format),
    }
    return st.one_of(primary[kind], provisional_ids(kind))


sources = st.one_of(
    st.builds("runs:/{}/{}".format, run_ids, artifact_paths),
    ids(IdKind.MODEL).map("models:/{}".format),
    artifact_paths.map("s3://bucket/{}".format),
)
"""Source URIs of versions."""

metric_points: st.SearchStrategy[MetricPoint] = st.builds(
    MetricPoint, key=keys, value=floats, timestamp=timestamps, step=_steps
)
"""Points of metrics."""

_owners = st.one_of(
    st.builds(ArtifactOwner, kind=st.just("run"), id=run_ids),
    st.builds(ArtifactOwner, kind=st.just("model"), id=ids(IdKind.MODEL)),
)
_descriptions = st.none() | texts
_base: dict[str, st.SearchStrategy[object]] = {"op_id": op_ids, "created_at": timestamps}
_alias: dict[str, st.SearchStrategy[object]] = _base | {
    "name": model_names,
    "alias": aliases,
    "expected": st.none() | st.just("") | ids(IdKind.VERSION),
    "force": st.booleans(),
}

_FIELDS: dict[type[Operation], dict[str, st.SearchStrategy[object]]] = {
    CreateExperiment: _base | {"name": model_names, "tags": tags},
    CreateRun: _base
    | {
        "experiment_id": ids(IdKind.EXPERIMENT),
        "run_name": texts,
        "start_time": timestamps,
        "tags": st.one_of(
            tags,
            st.builds(lambda own, parent: own | {"mlflow.parentRunId": parent}, tags, run_ids),
        ),
    },
    LogBatch: _base
    | {
        "run_id": run_ids,
        "metrics": st.lists(metric_points, max_size=_SMALL).map(tuple),
        "params": tags,
        "tags": tags,
    },
    UpdateRun: _base
    | {
        "run_id": run_ids,
        "status": st.none() | st.sampled_from(["RUNNING", "SCHEDULED", *sorted(TERMINAL_STATUSES)]),
        "end_time": st.none() | timestamps,
        "run_name": st.none() | texts,
    },
    LogArtifact: _base
    | {
        "run_id": run_ids,
        "owner": _owners,
        "path": artifact_paths,
        "size": st.integers(0, 2**63 - 1),
        "sha256": st.text("0123456789abcdef", min_size=64, max_size=64),
        "rewrites_ids": st.booleans(),
        "content_references": st.lists(provisional_ids(IdKind.MODEL), max_size=2).map(tuple),
    },
    CreateLoggedModel: _base
    | {
        "run_id": run_ids,
        "experiment_id": ids(IdKind.EXPERIMENT),
        "name": model_names,
        "tags": tags,
        "params": tags,
        "model_type": _descriptions,
    },
    FinalizeLoggedModel: _base | {"run_id": run_ids, "model_id": ids(IdKind.MODEL)},
    CreateRegisteredModel: _base
    | {"name": model_names, "description": _descriptions, "tags": tags},
    CreateModelVersion: _base
    | {
        "name": model_names,
        "source": sources,
        "run_id": st.none() | run_ids,
        "model_id": st.none() | ids(IdKind.MODEL),
        "description": _descriptions,
        "tags": st.one_of(
            tags, st.builds(lambda own, run: own | {"mlflow_run_id": run}, tags, run_ids)
        ),
    },
    SetModelVersionTags: _base
    | {"name": model_names, "version": ids(IdKind.VERSION), "tags": tags},
    DeleteModelVersion: _base | {"name": model_names, "version": ids(IdKind.VERSION)},
    SetRegisteredModelTags: _base | {"name": model_names, "tags": tags},
    SetAlias: _alias | {"version": ids(IdKind.VERSION)},
    DeleteAlias: _alias,
}


def operations_of(kind: type[Operation]) -> st.SearchStrategy[Operation]:
    """Operations of one kind."""
    return st.builds(kind, **_FIELDS[kind])


operations: st.SearchStrategy[Operation] = st.one_of([operations_of(kind) for kind in _FIELDS])
"""Operations of every kind."""
