"""Names for what the contracts demand, so that a failure says which clause is broken."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import pytest

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_NAME = re.compile(r"(tracking|registry|journal)\.[a-z-]+")
_ATTRIBUTE = "hokusai_clause"


def clause(name: str) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """Name the clause that a test checks; a failure of the test carries the name and the docstring.

    Args:
        name: The capability, a period and words joined by dashes: ``tracking.param-once``.

    Raises:
        ValueError: The name has another form.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a clause.")

    def decorate(test: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        @functools.wraps(test)
        def checked(*arguments: _Arguments.args, **keywords: _Arguments.kwargs) -> _Result:
            try:
                return test(*arguments, **keywords)
            except (Exception, pytest.fail.Exception) as failure:
                failure.add_note(f"Broken clause {name}: {title(test)} {_first_line(test)}")
                raise

        setattr(checked, _ATTRIBUTE, name)
        return checked

    return decorate


def clause_of(test: object) -> str:
    """Give the name of the clause that a test checks; "" for a test of something else."""
    return str(getattr(test, _ATTRIBUTE, ""))


def clauses_of(contract: type) -> dict[str, str]:
    """Give the clauses of a contract, by name, each with what it demands."""
    found: dict[str, str] = {}
    for attribute in dir(contract):
        test = getattr(contract, attribute)
        if name := clause_of(test):
            found[name] = f"{title(test)} {_first_line(test)}"
    return dict(sorted(found.items()))


def title(test: Callable[..., object]) -> str:
    """Give the sentence that the name of a test is."""
    words = test.__name__.removeprefix("test_").replace("_", " ")
    return f"{words[:1].upper()}{words[1:]}."


def _first_line(test: Callable[..., object]) -> str:
    return (test.__doc__ or "").strip().partition("\n")[0]
