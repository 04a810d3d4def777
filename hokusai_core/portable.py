"""A selection of backends as plain values without secrets, to be pickled and used elsewhere."""

from typing import Any

from pydantic import SecretStr

from hokusai_core.addresses import without_credentials
from hokusai_core.errors import ConfigurationError
from hokusai_core.resolution import BackendSelection
from hokusai_core.settings import ADDRESSES, Settings

_SECRETS = frozenset({"api_key", "database_url"})
_FIELDS = set(BackendSelection.model_fields) - {"settings", "plugin"}


def to_portable(selection: BackendSelection) -> dict[str, Any]:
    """Give what selects the same backends in another process; addresses without credentials.

    Raises:
        ConfigurationError: The backend was given as an object, which another process lacks.
    """
    if selection.plugin is not None:
        raise ConfigurationError(
            f"A run on backend {selection.backend!r}, given as an object, cannot be pickled. Choose "
            "the backend by its name instead."
        )
    settings = selection.settings.model_dump(
        include=selection.settings.model_fields_set - _SECRETS, exclude_none=True
    )
    return {
        **selection.model_dump(include=_FIELDS),
        "tracking_uri": without_credentials(selection.tracking_uri),
        "registry_uri": without_credentials(selection.registry_uri),
        "settings": {
            name: without_credentials(value) if name in ADDRESSES else value
            for name, value in settings.items()
        },
    }


def to_own_process(selection: BackendSelection) -> dict[str, Any]:
    """Give what selects the same backends in a process of this one's own: everything, with secrets.

    The backend must not be an object.
    """
    settings = selection.settings
    # What is None stays None, whatever the environment of that process says.
    values = settings.model_dump(mode="json", exclude={"optional_mlflow"})
    for name in _SECRETS:
        secret = getattr(settings, name)
        values[name] = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
    return {**selection.model_dump(include=_FIELDS), "settings": values}


def from_job_process(portable: dict[str, Any]) -> BackendSelection:
    """Give the selection of :func:`to_own_process` again, to be delivered by a thread."""
    # The job has warned of what is deprecated.
    changes = {"auto_sync": True, "optional_mlflow": None}
    settings = Settings.load(**{**portable["settings"], **changes})
    return BackendSelection(**{**portable, "settings": settings})


def from_portable(portable: dict[str, Any]) -> BackendSelection:
    """Give the selection again; secrets come from this process's environment.

    An address that the environment gives with credentials is used with them.
    """
    here = Settings.load()
    own = {without_credentials(uri): uri for uri in (getattr(here, name) for name in ADDRESSES)}
    settings = Settings.load(
        **{
            name: own.get(value, value) if name in ADDRESSES else value
            for name, value in portable["settings"].items()
        }
    )
    fields = {name: value for name, value in portable.items() if name != "settings"}
    for name in ("tracking_uri", "registry_uri"):
        fields[name] = own.get(fields[name], fields[name])
    return BackendSelection(settings=settings, **fields)
