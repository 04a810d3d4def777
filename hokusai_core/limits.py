"""The limits that MLflow sets, applied at the call on every backend.

Source of each figure: ``mlflow/utils/validation.py`` of MLflow 3.17.2, the same since 3.4, and the
column widths of its database schema where these are tighter (``RUN_NAME``, ``EXPERIMENT_NAME``,
``MODEL_NAME``, ``ARTIFACT_PATH``).
"""

METRICS_PER_REQUEST = 1000
"""``MAX_METRICS_PER_BATCH``: metrics in one ``log_batch`` request."""
PARAMS_PER_REQUEST = 100
"""``MAX_PARAMS_TAGS_PER_BATCH``: params in one ``log_batch`` request."""
TAGS_PER_REQUEST = 100
"""``MAX_PARAMS_TAGS_PER_BATCH``: tags in one ``log_batch`` request."""
ENTITIES_PER_REQUEST = 1000
"""``MAX_ENTITIES_PER_BATCH``: metrics, params and tags together in one request."""
REQUEST_BYTES = 1_000_000
"""``MAX_BATCH_LOG_REQUEST_SIZE``: bytes of JSON in one ``log_batch`` request."""
KEY_CHARACTERS = 250
"""``MAX_ENTITY_KEY_LENGTH``: characters in the key of a metric, param or tag."""
PARAM_VALUE_CHARACTERS = 6000
"""``MAX_PARAM_VAL_LENGTH``: characters in the value of a param."""
TAG_VALUE_CHARACTERS = 8000
"""``MAX_TAG_VAL_LENGTH``: characters in the value of a run's tag."""
REGISTRY_TAG_VALUE_CHARACTERS = 100_000
"""``MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH``: characters in a tag of a model or version."""
EXPERIMENT_NAME_CHARACTERS = 256
"""Column ``experiments.name``; MLflow's own check allows 500, PostgreSQL then refuses them."""
MODEL_NAME_CHARACTERS = 256
"""Column ``registered_models.name``."""
RUN_NAME_CHARACTERS = 250
"""Column ``runs.name``."""
DESCRIPTION_CHARACTERS = 5000
"""Columns ``registered_models.description`` and ``model_versions.description``."""
SOURCE_CHARACTERS = 500
"""Column ``model_versions.source``."""
ALIAS_CHARACTERS = 255
"""``MAX_REGISTERED_MODEL_ALIAS_LENGTH``: characters in an alias."""
STEP_MIN, STEP_MAX = -(2**63), 2**63 - 1
"""A step is a signed 64-bit integer."""
TIMESTAMP_MAX = 2**63 - 1
"""A timestamp is a signed 64-bit integer of milliseconds, not negative."""
ARTIFACT_PATH_CHARACTERS = 1000
"""Characters in an artifact's path; object stores allow 1024 bytes with the root."""
ARTIFACT_PART_BYTES = 255
"""UTF-8 bytes between two slashes: what the file systems behind MLflow's artifact stores hold."""
SEARCH_RESULTS = 50_000
"""``SEARCH_MAX_RESULTS_THRESHOLD`` (``mlflow/store/tracking/__init__.py``): runs in one page."""
