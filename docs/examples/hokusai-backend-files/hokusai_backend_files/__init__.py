"""A backend for Hokusai that keeps runs and models as plain files."""
