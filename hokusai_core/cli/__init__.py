"""The command ``hokusai``; each of its commands is a module."""

from hokusai_core.cli.application import application, main

__all__ = ["application", "main"]
