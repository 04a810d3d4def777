"""Values above MLflow's limits: cut, and said so, or refused."""

import logging

from hokusai_core.errors import InvalidInputError
from hokusai_core.settings import Settings

logger = logging.getLogger("hokusai")


def fit(values: dict[str, str], what: str, limit: int, settings: Settings) -> dict[str, str]:
    """Apply ``HOKUSAI_LONG_VALUES`` to the values of params or tags.

    Args:
        values: By key.
        what: "param" or "tag", for the message.
        limit: The most characters of one value.
        settings: ``truncate`` cuts and warns with key and lengths; ``error`` refuses.

    Raises:
        InvalidInputError: A value is too long, and ``error`` is set.
    """
    fitted = dict(values)
    for key, value in values.items():
        if len(value) <= limit:
            continue
        message = f"The value of {what} {key!r} has {len(value)} characters; MLflow keeps {limit}"
        if settings.long_values == "error":
            raise InvalidInputError(f"{message}. Shorten it, or log it as an artifact.")
        logger.warning("%s: the rest is cut off. Log it as an artifact to keep it whole.", message)
        fitted[key] = value[:limit]
    return fitted
