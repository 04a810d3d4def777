"""Fixtures: real PostgreSQL and SQLite databases."""
