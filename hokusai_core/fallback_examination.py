"""Tells early where records of an outage could not be kept."""

import logging
from collections.abc import Callable, Iterator

from hokusai_core.errors import ConfigurationError
from hokusai_core.findings import Finding
from hokusai_core.plugins import BackendConfig, BackendPlugin, Role

logger = logging.getLogger("hokusai")


class FallbackExamination:
    """Examines the fallback once, without opening it, and warns of what will fail.

    Args:
        plugin: The journal's manifest; None where there is none, or where it is the primary's.
        config: Gives what the plugin is opened with in a role.
    """

    def __init__(
        self, plugin: BackendPlugin | None, config: Callable[[Role], BackendConfig]
    ) -> None:
        self._plugin = plugin
        self._config = config

    def warn_once(self) -> None:
        """Log a WARNING for each thing that is wrong; the next call does nothing."""
        plugin, self._plugin = self._plugin, None
        if plugin is None:
            return
        try:
            failed = list(self._failed(plugin))
        except Exception as defect:  # noqa: BLE001 - it is told, and must end no healthy job
            logger.warning(
                "Where records of an outage would be kept could not be examined (%s). `hokusai doctor` "
                "says more.",
                type(defect).__name__,
            )
            return
        for finding in failed:
            logger.warning(
                "Records of an outage could not be kept here: %s %s `hokusai doctor` says more.",
                finding.text,
                finding.advice,
            )

    def _failed(self, plugin: BackendPlugin) -> Iterator[Finding]:
        journal = self._config("journal")
        yield from (one for one in examined(plugin, journal) if one.state == "failed")
        if plugin.needs_spool(journal):
            spool = self._config("spool")
            yield from (one for one in examined(plugin, spool) if one.state == "failed")


def examined(plugin: BackendPlugin, config: BackendConfig) -> Iterator[Finding]:
    """Give what a plugin finds about a configuration; an error of the configuration is a finding."""
    try:
        yield from plugin.examine(config)
    except ConfigurationError as failure:
        yield Finding(name=plugin.name, state="failed", text=str(failure))
