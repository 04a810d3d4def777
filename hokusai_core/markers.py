"""The pluggy markers of the hook contracts, apart from the contracts so that a plugin imports little."""

import pluggy

PROJECT = "hokusai"
"""Project name of the hooks, as pluggy uses it."""

ENTRY_POINT_GROUP = "hokusai.backends"
"""Entry-point group in which a distribution declares its backends."""

OBSERVER_GROUP = "hokusai.observers"
"""Entry-point group in which a distribution declares observers of events."""

API_VERSION = (1, 0)
"""Version of the hook contracts: the major must match; a minor only adds what is optional."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
