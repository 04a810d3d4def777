"""The MLflow backend of Hokusai."""
