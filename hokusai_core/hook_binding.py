"""Checks that an opened backend keeps the hook contract, and binds its hooks."""

import difflib
import inspect
import weakref
from functools import cache, partial
from types import ModuleType
from typing import Any, NoReturn, cast

import pluggy

from hokusai_core.errors import BackendBrokenError, ConfigurationError
from hokusai_core.hookspecs import CAPABILITIES, SPECIFICATIONS, needed_for
from hokusai_core.markers import PROJECT
from hokusai_core.operations import Operation
from hokusai_core.plugin_loading import described, is_newer
from hokusai_core.plugins import BackendPlugin

_Terms = tuple[frozenset[str], tuple[int, int], tuple[str, ...]]

_ADVICE = "Upgrade it, or see the hooks in the reference."


class Hooks:
    """The bound implementations, as attributes with the hooks' names."""


def bind_hooks(
    plugin: BackendPlugin, implementation: object, specifications: tuple[str, ...]
) -> Hooks:
    """Check an implementation against the specifications that its plugin declares, and bind it.

    Args:
        plugin: The manifest.
        implementation: The object with the hook implementations.
        specifications: Those that the caller is going to use.

    Raises:
        BackendBrokenError: A hook is misspelt, is missing, has other arguments than specified, or
            is implemented twice.

    """
    terms = (plugin.capabilities, plugin.api_version, specifications)
    known = (
        _KEPT_BY.setdefault(type(implementation), {}) if _is_as_its_class(implementation) else {}
    )
    if terms not in known:
        known[terms] = _verified(plugin, implementation, specifications)
    attributes = known[terms]
    hooks = Hooks()
    for capability in specifications:
        for name in hooks_of(SPECIFICATIONS[capability]):
            if name in attributes:
                setattr(hooks, name, getattr(implementation, attributes[name]))
            else:
                setattr(hooks, name, partial(_refuse, plugin, name))
    return hooks


_KEPT_BY: "weakref.WeakKeyDictionary[type, dict[_Terms, dict[str, str]]]"
_KEPT_BY = weakref.WeakKeyDictionary()
"""The hooks of classes that were checked, with the attributes that implement them: a check takes
longer than all else that opening a backend does, and its result is the same for each object."""


def _is_as_its_class(implementation: object) -> bool:
    """Say whether an object has no hooks but those of its class."""
    own = getattr(implementation, "__dict__", {})
    return not isinstance(implementation, type | ModuleType) and not any(
        hasattr(value, f"{PROJECT}_impl") for value in own.values()
    )


def _verified(
    plugin: BackendPlugin, implementation: object, specifications: tuple[str, ...]
) -> dict[str, str]:
    """Check an implementation; gives the attribute that implements each hook."""
    manager = pluggy.PluginManager(PROJECT)
    for specification in SPECIFICATIONS.values():
        manager.add_hookspecs(specification)
    marked = _marked(manager, implementation)
    who = described(plugin)
    _check_names(plugin, who, marked)
    attributes = {}
    for capability in specifications:
        specified = hooks_of(SPECIFICATIONS[capability])
        expected = {name: specified[name] for name in specified if not _lacking(plugin, name)}
        _check_complete(who, capability, implementation, marked, expected)
        for name, arguments in expected.items():
            attributes[name] = _checked(who, name, implementation, marked[name], arguments)
    try:
        manager.register(implementation, name=plugin.name)
        manager.check_pending()
    except pluggy.PluginValidationError as cause:
        raise BackendBrokenError(
            f"{who} does not keep the hook contract: {cause}. {_ADVICE}"
        ) from cause
    return attributes


def check_capability(plugin: BackendPlugin, operation: Operation) -> None:
    """Check that a backend can carry an operation out, before anything is sent or kept.

    Raises:
        ConfigurationError: It does not declare the capability.

    """
    if operation.specification in SPECIFICATIONS and _lacking(plugin, operation.hook):
        _refuse(plugin, operation.hook)


@cache
def _needed(hook: str) -> frozenset[str]:
    return needed_for(hook)


def _lacking(plugin: BackendPlugin, hook: str) -> frozenset[str]:
    return _needed(hook) - plugin.capabilities


def _refuse(plugin: BackendPlugin, hook: str, *_arguments: object, **_named: object) -> NoReturn:
    missing = sorted(_lacking(plugin, hook))
    raise ConfigurationError(
        f"Backend {plugin.name!r} cannot do this: it does not declare the capability "
        f"{' and '.join(map(repr, missing))} ({CAPABILITIES[missing[0]]}) Choose another backend "
        "with HOKUSAI_BACKEND or backend=."
    )


@cache
def hooks_of(specification: type) -> dict[str, tuple[str, ...]]:
    """Give the hooks of a specification with the names of their arguments, without ``self``."""
    return {
        name: tuple(inspect.signature(cast("Any", member)).parameters)[1:]
        for name, member in vars(specification).items()
        if not name.startswith("_") and callable(member)
    }


def _marked(manager: pluggy.PluginManager, implementation: object) -> dict[str, list[str]]:
    """Give the attributes that are marked as hook implementations, by the hook that they name."""
    found: dict[str, list[str]] = {}
    for attribute in dir(implementation):
        options = manager.parse_hookimpl_opts(implementation, attribute)
        if options is not None:
            name = options.get("specname") or attribute
            found.setdefault(name, []).append(attribute)
    return found


def _check_names(plugin: BackendPlugin, who: str, marked: dict[str, list[str]]) -> None:
    known = [name for specification in SPECIFICATIONS.values() for name in hooks_of(specification)]
    for name in sorted(set(marked) - set(known)):
        if is_newer(plugin):
            raise BackendBrokenError(
                f"{who} implements {name!r} of hook contract "
                f"{'.'.join(map(str, plugin.api_version))}, which this release does not know. "
                "Upgrade hokusai-tracking."
            )
        close = difflib.get_close_matches(name, known, n=1)
        guess = f" (is it {close[0]!r}?)" if close else ""
        raise BackendBrokenError(f"{who} implements {name!r}, which is no hook{guess}. {_ADVICE}")


def _check_complete(
    who: str,
    capability: str,
    implementation: object,
    marked: dict[str, list[str]],
    expected: dict[str, tuple[str, ...]],
) -> None:
    missing = [name for name in expected if name not in marked]
    if not missing:
        return
    unmarked = [name for name in missing if callable(getattr(implementation, name, None))]
    hint = f" ({', '.join(unmarked)} lacks the mark @hookimpl)" if unmarked else ""
    raise BackendBrokenError(
        f"{who} declares {capability!r} and implements {len(expected) - len(missing)} of its "
        f"{len(expected)} hooks; missing: {', '.join(missing)}{hint}. {_ADVICE}"
    )


def _checked(
    who: str, name: str, implementation: object, attributes: list[str], expected: tuple[str, ...]
) -> str:
    if len(attributes) != 1:
        raise BackendBrokenError(
            f"{who} implements the hook {name!r} {len(attributes)} times; it must be once. {_ADVICE}"
        )
    parameters = inspect.signature(getattr(implementation, attributes[0])).parameters
    if tuple(parameters) != expected:
        raise BackendBrokenError(
            f"{who} implements the hook {name!r} with the arguments ({', '.join(parameters)}); they "
            f"must be ({', '.join(expected)}), in this order. {_ADVICE}"
        )
    return attributes[0]
