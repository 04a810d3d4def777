"""Fixtures: real MLflow servers."""
