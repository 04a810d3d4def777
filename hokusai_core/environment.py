"""Pydantic models whose values come from environment variables where no argument gives them."""

import os
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class EnvironmentModel(BaseModel):
    """A frozen model. A field that is not given is read from the environment, else its default.

    The variable of a field is :attr:`environment_prefix` and its name in capitals, unless
    :attr:`environment_names` says another. An empty variable counts as not set. Texts are turned
    into the fields' types by pydantic, which refuses what does not fit.

    ``pydantic-settings`` does more of this, and adds half as much again to the time that importing
    this package takes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment_prefix: ClassVar[str] = ""
    """What the names of all variables begin with, with its underscore."""
    environment_names: ClassVar[dict[str, str]] = {}
    """Whole names of variables, by field: those that have no prefix."""

    @classmethod
    def variable(cls, field: str) -> str:
        """Give the name of the variable that a field is read from."""
        return cls.environment_names.get(field) or cls.environment_prefix + field.upper()

    @model_validator(mode="before")
    @classmethod
    def _read_environment(cls, given: Any) -> Any:
        if not isinstance(given, dict):  # a model already
            return given
        found = {field: os.environ.get(cls.variable(field)) for field in cls.model_fields}
        return {field: text for field, text in found.items() if text} | given
