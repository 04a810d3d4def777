"""Provisional ids carry their creation's id, and are exchanged only as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hokusai_core.identifiers import (
    IdKind,
    creation_of,
    is_provisional,
    new_op_id,
    provisional_id,
    provisional_ids_in,
    rename_ids,
)
from hokusai_core.testing import strategies

OP_ID = "0123456789abcdef" * 2
RUN = provisional_id(IdKind.RUN, OP_ID)


def test_new_ids_differ() -> None:
    assert len({new_op_id() for _ in range(100)}) == 100


@given(kind=st.sampled_from(IdKind), op_id=strategies.op_ids)
def test_a_provisional_id_is_taken_apart(kind: IdKind, op_id: str) -> None:
    identifier = provisional_id(kind, op_id)
    assert is_provisional(identifier)
    assert creation_of(identifier) == (kind, op_id)
    assert provisional_ids_in(f"runs:/{identifier}/model") == (identifier,)


@pytest.mark.parametrize(
    "other",
    [
        "",
        OP_ID,
        "m-1",
        f"{RUN}0",
        f" {RUN}",
        f"{RUN}\n",
        RUN.upper(),
        RUN.replace("run", "walk"),
        "hokusai-run-1",
    ],
)
def test_other_ids_are_not_provisional(other: str) -> None:
    assert not is_provisional(other)
    assert creation_of(other) is None


@given(before=st.text(max_size=5), after=st.text(max_size=5))
def test_an_id_is_exchanged_only_as_a_whole(before: str, after: str) -> None:
    text = f"{before}/{RUN}/{after}"
    assert rename_ids(text, {RUN: "r"}) == f"{before}/r/{after}"
    assert rename_ids(f"x{RUN}", {RUN: "r"}) == f"x{RUN}"
    assert rename_ids(f"{RUN}-x", {RUN: "r"}) == f"{RUN}-x"
    assert provisional_ids_in(f"x{RUN} {RUN}-x") == ()


def test_what_the_mapping_does_not_know_stays() -> None:
    other = provisional_id(IdKind.MODEL, OP_ID)
    assert rename_ids(f"models:/{other}", {RUN: "r"}) == f"models:/{other}"
    assert provisional_ids_in(f"{RUN} {other} {RUN}") == (RUN, other)
