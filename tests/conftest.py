"""Fixtures shared by all tests; each module named here holds those of one component."""

pytest_plugins = ["tests.support.mlflow_fixtures", "tests.support.sql_fixtures"]
