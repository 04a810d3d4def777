"""Each exception class of MLflow, requests and urllib3, and the class that it gets.

The libraries are walked, so that a class that a new release brings is met here: it gets the default
of its base class, which is written down below.
"""

import importlib
import inspect
import pkgutil
import ssl
from collections.abc import Iterator
from types import ModuleType

import mlflow.exceptions
import pytest
import requests.exceptions
import urllib3.exceptions
from mlflow.protos.databricks_pb2 import ErrorCode

from hokusai_backend_mlflow.errors import PERMANENT_CODES, from_failure, from_mlflow
from hokusai_core.errors import (
    AlreadyExistsError,
    AuthenticationError,
    BackendError,
    CredentialsRejectedError,
    NotFoundError,
    RejectedError,
    UnavailableError,
)


def exceptions_of(*modules: ModuleType) -> Iterator[type[Exception]]:
    """Walk modules for the exception classes that they define."""
    for module in modules:
        for _, member in sorted(vars(module).items()):
            if (
                inspect.isclass(member)
                and issubclass(member, Exception)
                and not issubclass(member, Warning)
                and member.__module__.partition(".")[0] == module.__name__.partition(".")[0]
            ):
                yield member


def modules_below(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if info.name.rpartition(".")[2] not in ("contrib", "http2"):
            yield importlib.import_module(info.name)


OF_HTTP = sorted({*exceptions_of(*modules_below(requests), *modules_below(urllib3))}, key=repr)
OF_MLFLOW = sorted({*exceptions_of(mlflow.exceptions)}, key=repr)

CODES: dict[str, type[BackendError]] = {
    "RESOURCE_DOES_NOT_EXIST": NotFoundError,
    "NOT_FOUND": NotFoundError,
    "RESOURCE_ALREADY_EXISTS": AlreadyExistsError,
    "ALREADY_EXISTS": AlreadyExistsError,
    "INVALID_PARAMETER_VALUE": RejectedError,
    "MALFORMED_REQUEST": RejectedError,
    "RESOURCE_LIMIT_EXCEEDED": RejectedError,
    "FEATURE_DISABLED": RejectedError,
}
"""The codes that are final; every other one of MLflow's is transient."""


def made(kind: type[Exception]) -> Exception:
    """Make an instance without calling a constructor, whose arguments differ."""
    return kind.__new__(kind)


@pytest.mark.parametrize("kind", OF_HTTP, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
@pytest.mark.parametrize("sent", [False, True])
def test_what_the_http_libraries_raise_is_an_outage(kind: type[Exception], sent: bool) -> None:
    error = from_failure(made(kind), "GET x", sent=sent, proven=False, seconds=0.0)
    assert type(error) is UnavailableError
    assert error.maybe_applied is sent


def test_enough_classes_were_found() -> None:
    for known in (
        requests.exceptions.ChunkedEncodingError,
        requests.exceptions.InvalidURL,
        requests.exceptions.SSLError,
        urllib3.exceptions.MaxRetryError,
        urllib3.exceptions.NameResolutionError,
    ):
        assert known in OF_HTTP
    assert mlflow.exceptions.RestException in OF_MLFLOW


@pytest.mark.parametrize(
    ("proven", "expected"), [(False, AuthenticationError), (True, CredentialsRejectedError)]
)
def test_only_a_certificate_is_told_apart(proven: bool, expected: type[BackendError]) -> None:
    inner = ssl.SSLCertVerificationError(1, "why")
    outer = requests.exceptions.SSLError(urllib3.exceptions.MaxRetryError(None, "x", inner))  # type: ignore[arg-type]
    error = from_failure(outer, "GET x", sent=False, proven=proven, seconds=0.0)
    assert type(error) is expected
    handshake = requests.exceptions.SSLError(ssl.SSLError(1, "why"))
    error = from_failure(handshake, "GET x", sent=False, proven=proven, seconds=0.0)
    assert type(error) is UnavailableError


@pytest.mark.parametrize("kind", OF_MLFLOW, ids=lambda kind: kind.__qualname__)
def test_what_mlflow_raises_is_judged_by_its_code(kind: type[Exception]) -> None:
    without_code = from_mlflow(made(kind), "x", ambiguous=True)
    expected = CODES.get(getattr(kind, "error_code", ""), UnavailableError)
    assert type(without_code) is expected
    for code in ErrorCode.keys():  # noqa: SIM118 - a protobuf enum is no dict
        cause = made(kind)
        cause.error_code = code  # type: ignore[attr-defined]
        error = from_mlflow(cause, "x", ambiguous=True)
        assert type(error) is CODES.get(code, UnavailableError)
        if isinstance(error, UnavailableError):
            assert error.maybe_applied


def test_the_final_codes_are_these() -> None:
    assert CODES == PERMANENT_CODES
    known = set(ErrorCode.keys())
    assert {code for code in CODES if code not in known} <= {"MALFORMED_REQUEST"}
