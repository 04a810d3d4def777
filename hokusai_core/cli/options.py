"""The options that commands share, and what they select."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from hokusai_core.resolution import select_backends, settings_with, sort_arguments
from hokusai_core.runtime import Runtime
from hokusai_core.settings import MOST_SECONDS, Settings

TrackingUri = Annotated[
    str | None,
    typer.Option(help="Address of the tracking server, in the place of MLFLOW_TRACKING_URI."),
]
Backend = Annotated[
    str | None, typer.Option(help="Name of the primary backend, in the place of HOKUSAI_BACKEND.")
]


def _number(seconds: float | None) -> float | None:
    # No bound holds it back: every comparison with it is false.
    if seconds is not None and math.isnan(seconds):
        raise typer.BadParameter("it is not a number of seconds.")
    return seconds


Wait = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=float(MOST_SECONDS),
        callback=_number,
        metavar="SECONDS",
        help="How long to wait for what falls due later.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        max=float(MOST_SECONDS),
        callback=_number,
        metavar="SECONDS",
        help="How long to wait for the primary's answer.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]


def command_settings() -> Settings:
    """Read the settings; a command delivers only where it is told to, so without the drainer."""
    return settings_with(None, auto_sync=False)


@contextmanager
def open_runtime(tracking_uri: str | None, backend: str | None) -> Iterator[Runtime]:
    """Give the machinery that the options and settings select; its journal is closed in the end.

    Raises:
        ConfigurationError: An option or setting is wrong, or a backend cannot be used.
    """
    given = sort_arguments(None, tracking_uri, None, None)
    runtime = Runtime.shared(
        select_backends(
            settings=command_settings(), tracking_uri=given.tracking_uri, backend=backend
        )
    )
    try:
        yield runtime
    finally:
        if runtime.fallback:
            runtime.fallback.close()
