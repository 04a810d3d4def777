"""Hokusai: experiment tracking and model registration that keep working when MLflow does not."""
