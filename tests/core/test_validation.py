"""What the caller gives is checked at the call, by MLflow's rules."""

import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils import validation as mlflow_validation

from hokusai_core import limits, validation
from hokusai_core.errors import InvalidInputError
from hokusai_core.identifiers import IdKind, new_op_id, provisional_id
from hokusai_core.model_tags import json_tag

NUL, SURROGATE = "a\x00b", "a\ud800b"
NO_TEXTS = (None, 1, 1.5, True, b"x", [], {}, object(), str)

CHARACTERS = st.sampled_from("aZ0é模_-./ :\\'\"%\n\t")
CANDIDATES = st.one_of(
    st.text(CHARACTERS, max_size=8),
    st.text(max_size=8),
    st.sampled_from(
        ["", " ", ".", "..", "a/../b", "/a", "a/", "a//b", "./a", "a/.", "latest", "v1"]
    ),
)


def accepted(check, value) -> bool:
    try:
        check(value)
    except (InvalidInputError, MlflowException):
        return False
    return True


# Texts and names


@pytest.mark.parametrize("value", NO_TEXTS)
def test_a_text_is_a_string(value) -> None:
    with pytest.raises(InvalidInputError, match="The note must be a string, not"):
        validation.text(value, "The note")


@pytest.mark.parametrize("value", [NUL, SURROGATE])
def test_a_text_that_no_database_stores_is_refused(value: str) -> None:
    with pytest.raises(InvalidInputError, match="NUL"):
        validation.text(value, "The note")


def test_a_text_may_be_bounded_and_required() -> None:
    assert validation.text("", "The note") == ""
    assert validation.text("abc", "The note", limit=3) == "abc"
    with pytest.raises(InvalidInputError, match=r"4 characters.*allows 3"):
        validation.text("abcd", "The note", limit=3)
    for blank in ("", "  \n"):
        with pytest.raises(InvalidInputError, match="empty"):
            validation.text(blank, "The note", empty=False)


@pytest.mark.parametrize("key", ["a", "a b", "a/b.c-d:e_f", "метрика", "损失", "a" * 250])
def test_good_keys(key: str) -> None:
    assert validation.key(key, "metric") == key


@pytest.mark.parametrize(
    "key",
    [
        None,
        1,
        "",
        " ",
        "a" * 251,
        "/a",
        "a/",
        "a//b",
        "..",
        "../a",
        ".",
        "a/./b",
        "a\n",
        "a,b",
        "a'b",
        NUL,
    ],
)
def test_bad_keys(key) -> None:
    with pytest.raises(InvalidInputError, match="key"):
        validation.key(key, "metric")


@given(candidate=CANDIDATES)
def test_keys_are_those_of_mlflow(candidate: str) -> None:
    ours = accepted(lambda value: validation.key(value, "metric"), candidate)
    theirs = accepted(mlflow_validation._validate_metric_name, candidate)
    if ours:
        assert theirs
    elif theirs:
        # Blank keys and a last line break, which MLflow's own check lets through.
        assert not candidate.strip() or candidate.endswith("\n")


@given(candidate=CANDIDATES)
def test_model_names_are_those_of_mlflow(candidate: str) -> None:
    ours = accepted(validation.model_name, candidate)
    theirs = accepted(mlflow_validation._validate_model_name, candidate)
    assert ours == (theirs and "\x00" not in candidate and not _has_surrogates(candidate))


@given(candidate=CANDIDATES)
def test_aliases_are_those_of_mlflow(candidate: str) -> None:
    def theirs(value: str) -> None:
        mlflow_validation._validate_model_alias_name(value)
        mlflow_validation._validate_model_alias_name_reserved(value)

    if accepted(validation.alias, candidate):
        assert accepted(theirs, candidate)
    elif accepted(theirs, candidate):
        assert candidate.endswith("\n")


@given(candidate=CANDIDATES)
def test_run_ids_are_those_of_mlflow(candidate: str) -> None:
    if accepted(validation.run_id, candidate):
        assert accepted(mlflow_validation._validate_run_id, candidate)
    elif accepted(mlflow_validation._validate_run_id, candidate):
        assert candidate.endswith("\n")


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


@pytest.mark.parametrize("name", ["m", "it's", "a b", "模型", "m" * limits.MODEL_NAME_CHARACTERS])
def test_good_model_names(name: str) -> None:
    assert validation.model_name(name) == name


@pytest.mark.parametrize(
    "name", [*NO_TEXTS, "", " ", "a/b", "a:b", ".", "..", "m" * 257, NUL, SURROGATE]
)
def test_bad_model_names(name) -> None:
    with pytest.raises(InvalidInputError, match="model name"):
        validation.model_name(name)


@pytest.mark.parametrize("alias", ["champion", "a-b_c", "v", "v1a", "latest1", "x" * 255])
def test_good_aliases(alias: str) -> None:
    assert validation.alias(alias) == alias


@pytest.mark.parametrize("alias", ["", "a b", "a.b", "latest", "LATEST", "v1", "V22", "x" * 256, 1])
def test_bad_aliases(alias) -> None:
    with pytest.raises(InvalidInputError, match="alias"):
        validation.alias(alias)


def test_experiment_names() -> None:
    assert validation.experiment_name("a/b: c") == "a/b: c"
    for name in ("", "  ", "x" * 257, 1, None, NUL):
        with pytest.raises(InvalidInputError, match="experiment name"):
            validation.experiment_name(name)


def test_versions() -> None:
    waiting = provisional_id(IdKind.VERSION, new_op_id())
    assert [validation.version(each) for each in (1, "12", waiting)] == ["1", "12", waiting]
    run = provisional_id(IdKind.RUN, new_op_id())
    for value in (0, -1, "0", "01", "1.0", "latest", "", None, True, 1.0, run, "1\n"):
        with pytest.raises(InvalidInputError, match="version"):
            validation.version(value)


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a/b.txt",
        "ü 模.bin",
        "a b",
        "-",
        "~/a",
        "a..b",
        "50%.txt",
        "a%zz",
        "a?b;c.txt",
        "x" * 255,
        "/".join(["x" * 199] * 5),
        "模" * 85,
    ],
)
def test_good_artifact_paths(path: str) -> None:
    assert validation.artifact_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/..",
        "/a",
        "a/",
        "a//b",
        "./a",
        "a\\b",
        "C:/a",
        "c:a",
        NUL,
        "x" * 1001,
        None,
        1,
    ],
)
def test_paths_out_of_the_root_are_refused(path) -> None:
    for check in (validation.artifact_path, validation.plain_path):
        with pytest.raises(InvalidInputError, match="artifact path"):
            check(path)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("x" * 256, "256 bytes"),
        (f"a/{'模' * 86}/b", "258 bytes"),
        ("a#b", "'#'"),
        ("a%20b.txt", "'%'"),
        ("a%2Fb.txt", "'%'"),
        ("a%25b", "'%'"),
        ("a%e9", "'%'"),
        ("a\nb", "control character"),
        ("a\tb", "control character"),
        ("a\x7fb", "control character"),
        ("a?", "ends with"),
        ("a?/b", "ends with"),
        ("a;", "ends with"),
        ("a;?", "ends with"),
        ("a;?b", "'?' or ';'"),
    ],
)
def test_names_that_a_store_does_not_keep_are_refused(path: str, told: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(told)):
        validation.artifact_path(path)
    assert validation.plain_path(path) == path


@pytest.mark.parametrize("value", [[1], "text", 1])
def test_a_json_tag_that_is_no_dict_is_told_once(value: object) -> None:
    with pytest.raises(InvalidInputError, match=r"^metadata must be a dict, not \w+\.$"):
        json_tag(value, "metadata")


# Numbers


class Tensor:
    """What tensors of torch, TensorFlow and JAX have in common: one element is an ``item``."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def item(self) -> float:
        if len(self.values) != 1:
            raise RuntimeError(f"a Tensor with {len(self.values)} elements cannot be converted")
        return self.values[0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, 1.5),
        (1, 1.0),
        (True, 1.0),
        (Decimal("0.25"), 0.25),
        (Fraction(1, 4), 0.25),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.int64(-3), -3.0),
        (np.uint8(255), 255.0),
        (np.bool_(True), 1.0),
        (np.array(2.5), 2.5),
        (np.array([2.5]), 2.5),
        (np.array([[7]]), 7.0),
        (Tensor(0.75), 0.75),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        (math.inf, math.inf),
        (np.float64("-inf"), -math.inf),
    ],
)
def test_metric_values(value, expected: float) -> None:
    converted = validation.metric_value(value, "loss")
    assert type(converted) is float
    assert converted == expected


def test_special_metric_values() -> None:
    assert math.isnan(validation.metric_value(math.nan, "loss"))
    assert math.isnan(validation.metric_value(np.float32("nan"), "loss"))
    assert math.copysign(1, validation.metric_value(-0.0, "loss")) == -1


@pytest.mark.parametrize(
    "value",
    [
        None,
        "1.5",
        b"1",
        bytearray(b"1"),
        1j,
        np.complex128(1j),
        [1.0],
        {},
        object(),
        np.array([]),
        np.array([1.0, 2.0]),
        np.array(["1.5"]),
        np.str_("1.5"),
        Tensor(),
        Tensor(1.0, 2.0),
        float,
    ],
)
def test_what_is_no_number_is_refused(value) -> None:
    with pytest.raises(InvalidInputError, match="Metric 'loss'"):
        validation.metric_value(value, "loss")


@given(value=st.one_of(st.floats(), st.integers(-(2**70), 2**70), st.booleans()))
def test_numbers_become_the_float_that_mlflow_makes(value) -> None:
    converted = validation.metric_value(value, "loss")
    assert converted == float(value) or math.isnan(converted)


def test_a_torch_tensor_is_a_number() -> None:
    torch = pytest.importorskip("torch", reason="torch is optional")
    value = torch.tensor(0.5, requires_grad=True)
    assert validation.metric_value(value, "loss") == 0.5


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, 0),
        (0, 0),
        (5, 5),
        (5.0, 5),
        (np.int32(7), 7),
        (np.array(3), 3),
        (-1, -1),
        (limits.STEP_MIN, limits.STEP_MIN),
        (limits.STEP_MAX, limits.STEP_MAX),
    ],
)
def test_steps(value, expected: int) -> None:
    converted = validation.step(value, "loss")
    assert (type(converted), converted) == (int, expected)


@pytest.mark.parametrize(
    "value",
    [
        True,
        "1",
        b"1",
        1.5,
        math.nan,
        math.inf,
        limits.STEP_MAX + 1,
        limits.STEP_MIN - 1,
        [],
        object(),
    ],
)
def test_bad_steps(value) -> None:
    with pytest.raises(InvalidInputError, match="step"):
        validation.step(value, "loss")


def test_timestamps() -> None:
    assert validation.timestamp(0, "x") == 0
    assert validation.timestamp(limits.TIMESTAMP_MAX, "x") == limits.TIMESTAMP_MAX
    for value in (-1, limits.TIMESTAMP_MAX + 1, None, "0", 1.5, True):
        with pytest.raises(InvalidInputError, match="timestamp"):
            validation.timestamp(value, "x")
    with pytest.raises(InvalidInputError, match="from 0 to 9223372036854775807"):
        validation.timestamp(2**63, "x")


# Values and mappings


class Untextual:
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize("check", [validation.param_value, validation.tag_value])
def test_values_become_text(check) -> None:
    assert [check(value, "k") for value in (1, 0.1, True, None, [1], "x", "")] == [
        "1",
        "0.1",
        "True",
        "None",
        "[1]",
        "x",
        "",
    ]
    for value in (NUL, SURROGATE, Untextual()):
        with pytest.raises(InvalidInputError, match="'k'"):
            check(value, "k")


def test_registry_tags() -> None:
    assert validation.registry_tags(None) == {}
    assert validation.registry_tags({"a": 1, "b": "x"}) == {"a": "1", "b": "x"}
    assert validation.registry_tags({"a": "xyz"}, limit=3) == {"a": "xyz"}
    for tags in ({"": "x"}, {1: "x"}, {"a": NUL}, {"a": "x" * 100_001}, [("a", "b")], "a=b"):
        with pytest.raises(InvalidInputError):
            validation.registry_tags(tags)


def test_mappings() -> None:
    assert validation.mapping(None, "params") == {}
    given_mapping = {"a": 1}
    assert validation.mapping(given_mapping, "params") is given_mapping
    for value in ([], "a", 1, dict):
        with pytest.raises(InvalidInputError, match="params must be a dict, not"):
            validation.mapping(value, "params")


def test_a_long_value_is_not_shown_in_full() -> None:
    with pytest.raises(InvalidInputError) as caught:
        validation.run_id("?" * 10_000)
    assert len(str(caught.value)) < 400
