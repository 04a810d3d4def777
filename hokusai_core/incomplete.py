"""Says that a list holds only what is known without the primary."""

import logging

logger = logging.getLogger("hokusai")


def warn_of_incomplete(what: str, destination: str) -> None:
    """Warn that a list was answered without the primary, which may hold more.

    Args:
        what: What is listed, as a plural.
        destination: The primary.
    """
    logger.warning(
        "This list of %s is incomplete: %s cannot be asked now, so it holds only what is known on this "
        "side. Ask again when `hokusai status` says that the server is back.",
        what,
        destination,
    )
