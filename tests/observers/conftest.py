"""Two stacks of the behaviour tests: real MLflow, and the mock."""

from collections.abc import Callable

import pytest

from tests.behaviour.conftest import make_stack
from tests.behaviour.stack import Stack

__all__ = ["make_stack"]


@pytest.fixture(params=["mock", "mlflow-sqlite"])
def failing(request: pytest.FixtureRequest, make_stack: Callable[[str], Stack]) -> Stack:
    """A backend whose primary can go away."""
    return make_stack(request.param)
