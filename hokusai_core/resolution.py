"""What the arguments of a constructor mean: one frozen configuration, or one clear error."""

import inspect
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import ConfigDict, Field, InstanceOf

from hokusai_core import validation
from hokusai_core.addresses import as_shown, is_uri, without_credentials
from hokusai_core.errors import ConfigurationError, InvalidInputError
from hokusai_core.operations import Value
from hokusai_core.plugins import BackendPlugin
from hokusai_core.settings import Settings

DEFAULT_EXPERIMENT = "hokusai_model_improvements"
"""The experiment of managers that were given no name."""

_REGISTRY_METHODS = ("register_baseline", "register_improved_model", "get_model_by_id")
_ACCEPTED = (
    "Accepted are an experiment name, a ModelRegistry, or an object with registry methods or a "
    "tracking_uri."
)

_ADDRESSES = ("tracking_uri", "registry_uri")
_FOR_REQUESTS = ("api_key", "api_endpoint")


class BackendSelection(Value):
    """Which backends are used, and how.

    ``backend`` and ``fallback`` are names of plugins ("none" for no fallback); ``plugin`` is a
    manifest that the caller gave in the place of a name. ``fallback_asked`` says whether the user
    named the fallback, so that a missing package is an error and no warning.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    backend: str
    fallback: str
    fallback_asked: bool = False
    tracking_uri: str = ""
    registry_uri: str = ""
    settings: InstanceOf[Settings] = Field(repr=False)
    plugin: InstanceOf[BackendPlugin] | None = Field(default=None, repr=False)

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        """Show addresses without credentials."""
        for name, value in super().__repr_args__():
            yield name, without_credentials(str(value)) if name in _ADDRESSES else value


class ExperimentConfig(BackendSelection):
    """What an :class:`~hokusai_core.experiments.ExperimentManager` was made of."""

    experiment_name: str = DEFAULT_EXPERIMENT


class ExperimentArguments(Value):
    """The arguments of ``ExperimentManager``, sorted into what they are."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    experiment_name: str | None = None
    tracking_uri: str | None = None
    registry: Any = None


def sort_arguments(
    registry_or_name: object, mlflow_tracking_uri: object, registry: object, experiment_name: object
) -> ExperimentArguments:
    """Sort what callers pass in any of the accepted patterns.

    Raises:
        ConfigurationError: For what is neither a name, a registry nor a URI, and for two of a kind
            that differ.
    """
    names: list[str] = []
    registries: list[object] = []
    uri: str | None = None
    if registry_or_name is not None:
        if isinstance(registry_or_name, str):
            names.append(_name(registry_or_name))
        else:
            registries.append(_registry(registry_or_name, "The first argument"))
    if mlflow_tracking_uri is not None:
        if isinstance(mlflow_tracking_uri, str):
            uri = _uri(mlflow_tracking_uri)
        else:
            registries.append(_registry(mlflow_tracking_uri, "The second argument"))
    if registry is not None:
        registries.append(_registry(registry, "registry="))
    if experiment_name is not None:
        names.append(_name(experiment_name))
    if len(set(names)) > 1:
        raise ConfigurationError(
            f"Two experiment names were given, {names[0]!r} and {names[1]!r}; give one."
        )
    if len({id(one) for one in registries}) > 1:
        raise ConfigurationError(
            f"Two registries were given, {registries[0]!r} and {registries[1]!r}; give one."
        )
    found = registries[0] if registries else None
    own_uri = getattr(found, "tracking_uri", None) if found is not None else None
    if isinstance(own_uri, str) and own_uri:
        if uri is not None and uri != own_uri:
            raise ConfigurationError(
                f"The registry uses {without_credentials(own_uri)} and mlflow_tracking_uri is "
                f"{without_credentials(uri)}; give one, or a registry with the same address."
            )
        uri = own_uri
    return ExperimentArguments(
        experiment_name=names[0] if names else None, tracking_uri=uri, registry=found
    )


def select_backends(
    *,
    settings: Settings,
    tracking_uri: str | None = None,
    backend: object = None,
) -> BackendSelection:
    """Choose backends and addresses: from arguments, else settings, else defaults.

    Args:
        settings: All settings.
        tracking_uri: Given by the caller or a registry.
        backend: A plugin's name, its manifest, or an object with a ``plugin`` (a mock backend).

    Raises:
        ConfigurationError: ``backend`` is none of these.
    """
    plugin = _plugin(backend)
    if plugin is None and backend is not None and not isinstance(backend, str):
        raise ConfigurationError(
            f"backend= must be the name of a backend or a BackendPlugin, not {_described(backend)}."
        )
    name = plugin.name if plugin else str(backend or "").strip() or settings.primary_name
    return BackendSelection(
        backend=name,
        plugin=plugin,
        fallback=settings.fallback.lower(),
        fallback_asked=bool(settings.fallback),
        tracking_uri=tracking_uri or settings.mlflow_tracking_uri or _hokusai_endpoint(settings),
        registry_uri=settings.mlflow_registry_uri,
        settings=settings,
    )


def settings_with(settings: Settings | None, **changes: Any) -> Settings:
    """Give settings with what a caller said laid over them; None is not said."""
    said = {name: value for name, value in changes.items() if value is not None}
    if settings is None:
        return Settings.load(**said)
    if not isinstance(settings, Settings):
        raise ConfigurationError(f"settings= must be Settings, not {_described(settings)}.")
    if for_requests := {name: said[name] for name in _FOR_REQUESTS if name in said}:
        said |= _validated(for_requests)
    for name in ("delivery", "durability"):
        allowed = get_args(Settings.model_fields[name].annotation)
        if name in said and said[name] not in allowed:
            raise ConfigurationError(
                f"{name}= must be one of {', '.join(allowed)}, not {_described(said[name])}."
            )
    return settings.model_copy(update=said) if said else settings


def _validated(values: dict[str, Any]) -> dict[str, Any]:
    """Give values as settings hold them; copying settings does not look at what is changed."""
    defaults = dict(Settings.model_construct())  # so that nothing is read from the environment
    loaded = Settings.load(**(defaults | values))
    return {name: getattr(loaded, name) for name in values}


def _hokusai_endpoint(settings: Settings) -> str:
    return f"{settings.api_endpoint.rstrip('/')}/mlflow" if settings.api_key else ""


def _plugin(backend: object) -> BackendPlugin | None:
    if isinstance(backend, BackendPlugin):
        return backend
    own = getattr(backend, "plugin", None)
    return own if isinstance(own, BackendPlugin) else None


def _name(value: object) -> str:
    try:
        return validation.experiment_name(value)
    except InvalidInputError as cause:
        raise ConfigurationError(str(cause)) from cause


def _uri(value: str) -> str:
    if not value.strip():
        raise ConfigurationError("mlflow_tracking_uri is empty; leave it out or give an address.")
    if not is_uri(value):
        raise ConfigurationError(
            f"{as_shown(value)!r} stands where a tracking URI belongs (http://..., sqlite:///...). "
            "If it is the name of an experiment, pass it as experiment_name=."
        )
    return value


def _registry(value: object, what: str) -> object:
    if inspect.isclass(value):
        raise ConfigurationError(
            f"{what} is the class {value.__name__}; pass an instance: {value.__name__}(). "
            f"{_ACCEPTED}"
        )
    if isinstance(value, str) and what == "registry=":
        raise ConfigurationError(
            f"registry= is the text {value!r}. To name an experiment use experiment_name=, to give "
            f"an address mlflow_tracking_uri=. {_ACCEPTED}"
        )
    has_uri = isinstance(getattr(value, "tracking_uri", None), str)
    has_methods = any(callable(getattr(value, name, None)) for name in _REGISTRY_METHODS)
    if not has_uri and not has_methods:
        raise ConfigurationError(f"{what} is {_described(value)}. {_ACCEPTED}")
    return value


def _described(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    shown = repr(value)
    return f"{shown[:60]} of type {type(value).__name__}"
