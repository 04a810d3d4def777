"""The destination that a person means who writes an address: the name under which records wait."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import get_args
from urllib.parse import urlsplit

from hokusai_core.addresses import without_credentials
from hokusai_core.backends import destination_of, find_backend
from hokusai_core.errors import ConfigurationError, InvalidInputError
from hokusai_core.hookspecs import Journal
from hokusai_core.journal import EntryQuery, EntryState
from hokusai_core.machine import is_local, machine_id
from hokusai_core.resolution import BackendSelection
from hokusai_core.selected_plugins import backend_config
from hokusai_core.values import Value

_PARTS = re.compile(r"\s+(?=\w+=)")
_MACHINE = re.compile(r"[0-9a-f]{12}")


class PlannedMove(Value):
    """From which destination to which all would go.

    ``source_known`` says that there are entries of the source. ``target_known`` says that the settings
    mean the target, or that there are entries of it; else what is moved there waits until a worker of
    that destination comes.
    """

    source: str
    target: str
    source_known: bool
    target_known: bool


def plan_move(
    selection: BackendSelection, own: str, journals: Sequence[Journal], source: str, target: str
) -> PlannedMove:
    """Find out which destinations a person means.

    Args:
        selection: The backend whose addresses are meant, and its settings.
        own: The destination that the settings mean.
        journals: Where entries may be.
        source: The old destination or address.
        target: The new one; "" for ``own``.

    Raises:
        InvalidInputError: ``source`` is empty.
        JournalUnavailableError: One of the journals cannot be reached.
    """
    if not source.strip():
        raise InvalidInputError("The old destination is empty. Name it as `hokusai status` does.")

    @cache
    def known(name: str) -> bool:
        # The figures cost little. Only what has nothing waiting is looked for among all entries.
        if any(journal.journal_backlog(name).by_destination.get(name) for journal in journals):
            return True
        query = EntryQuery(destination=name, states=get_args(EntryState), limit=1)
        return any(journal.journal_read(query) for journal in journals)

    def meant(written: str) -> str:
        # A name that is there is meant as it is, whatever a release of today would make of it.
        as_it_is = written == own or known(written)
        return written if as_it_is else destination_of_address(selection, written)

    old, new = meant(source), meant(target) if target.strip() else own
    return PlannedMove(
        source=old, target=new, source_known=known(old), target_known=new == own or known(new)
    )


def destination_of_address(selection: BackendSelection, written: str) -> str:
    """Give the destination that a primary at an address would have, as its plugin makes it.

    So two ways to write one address give one destination, and none holds credentials.

    Args:
        selection: The backend whose addresses are meant, and its settings.
        written: An address, or a destination as ``hokusai status`` shows it. What is neither, such as
            a name from ``HOKUSAI_DESTINATION``, stays as it is.
    """
    address, *parts = _PARTS.split(written.strip())
    if not parts:
        return _normal(selection, address)
    named = (part.partition("=") for part in parts)
    values = [f"{name}={_bare(selection, value)}" for name, _, value in named]
    return " ".join([_bare(selection, address), *values])


def _bare(selection: BackendSelection, address: str) -> str:
    """Give one address of a destination, without what the settings would add to it."""
    alone = selection.model_copy(update={"registry_uri": ""})
    return _PARTS.split(_normal(alone, address))[0]


def _normal(selection: BackendSelection, address: str) -> str:
    if "://" not in address:
        return address
    here = machine_id()
    bare, _, machine = address.rpartition("@")
    if _MACHINE.fullmatch(machine) and _is_local_address(bare):
        # As it is shown. What stands before the "@" is a place on that machine, and no credentials.
        return f"{_told(selection, bare).removesuffix(f'@{here}')}@{machine}"
    return _told(selection, address)


def _is_local_address(address: str) -> bool:
    try:
        return "@" not in address and is_local((urlsplit(address).hostname or "").lower())
    except ValueError:
        return False


def _told(selection: BackendSelection, address: str) -> str:
    """Let the plugin tell it, where its primaries have addresses of this kind."""
    plugin = find_backend(selection.plugin or selection.backend)
    unnamed = selection.settings.model_copy(update={"destination": ""})
    config = replace(backend_config(selection, "primary"), settings=unnamed, tracking_uri=address)
    try:
        if plugin.mlflow_address(config):
            return destination_of(plugin, config)
    except ConfigurationError:
        pass  # it is no address of this backend
    return without_credentials(address)
