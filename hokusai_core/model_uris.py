"""What a model URI points to."""

import posixpath
import re
from typing import Literal
from urllib.parse import unquote_plus, urlparse

from hokusai_core import validation
from hokusai_core.addresses import as_shown, without_credentials
from hokusai_core.errors import InvalidInputError
from hokusai_core.identifiers import IdKind, creation_of
from hokusai_core.operations import Value

_LOGGED_MODEL = re.compile(r"m-[0-9A-Za-z]+")
_SHOWN_CHARACTERS = 100


class ModelReference(Value):
    """A parsed model URI.

    ``kind`` is ``version`` (``name`` and ``version``), ``alias`` (``name`` and ``alias``), ``logged``
    (``model_id``), ``run`` (``run_id`` and ``path``), or ``other``: any URI that only the primary
    and its storage understand. ``uri`` is as the caller wrote it for ``other``, else in its plain
    form: one slash behind the scheme, none at the end.
    """

    kind: Literal["version", "alias", "logged", "run", "other"]
    uri: str
    name: str = ""
    version: str = ""
    alias: str = ""
    model_id: str = ""
    run_id: str = ""
    path: str = ""


def parse_model_uri(uri: object) -> ModelReference:
    """Take a model URI apart.

    Accepts ``models:/name/3``, ``models:/name@alias``, ``models:/m-...`` (a logged model, also one
    that waits), ``runs:/run_id/path``, and any other URI with a scheme.

    Raises:
        InvalidInputError: It is none of these.
    """
    text = validation.text(uri, "The model URI", empty=False)
    if not has_scheme(text):
        raise InvalidInputError(
            f"{as_shown(text)!r} is not a model URI: models:/name/version, models:/name@alias, "
            "models:/m-..., runs:/run_id/path, or the URI of an artifact store."
        )
    scheme, _, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme not in ("models", "runs"):
        _refuse_malformed(text)
        return ModelReference(kind="other", uri=text)
    if not rest.startswith("/"):
        raise InvalidInputError(f"{shown_uri(text)} lacks a slash: write {scheme}:/ and the rest.")
    rest = rest.strip("/")
    if scheme == "models":
        return _registered(f"models:/{rest}", rest)
    run_id, _, path = rest.partition("/")
    return ModelReference(
        kind="run",
        uri=f"runs:/{rest}",
        run_id=validation.run_id(run_id),
        path=validation.plain_path(path, "The path in a runs:/ URI"),
    )


def shown_uri(uri: str) -> str:
    """Give a model URI, or what was given for one, to be shown in an error: without credentials."""
    shown = repr(without_credentials(uri))
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."


def has_scheme(text: str) -> bool:
    """Whether a text begins as a URI does, so that it is not the path of a folder."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", text) is not None


def parse_model_name(reference: object) -> ModelReference:
    """Take apart what names a registered version: ``name/3``, ``name@alias`` or a ``models:/`` URI."""
    text = validation.text(reference, "The model", empty=False)
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:/", text):
        return parse_model_uri(text)
    return _registered(f"models:/{text}", text)


def _refuse_malformed(uri: str) -> None:
    """Refuse the address of an artifact store that every MLflow server refuses as a source.

    The rule is the server's (``_validate_non_local_source_contains_relative_paths``), which decodes
    an address until it stays the same: there is an absolute path behind the host, a plain one.
    """
    plain = uri
    while (decoded := unquote_plus(plain)) != plain:
        plain = decoded
    try:
        path = re.sub("/+", "/", urlparse(plain).path.rstrip("/"))
    except ValueError:
        path = ""
    if (
        "\0" in plain
        or ".." in plain.split("/")
        or path[:1] != "/"
        or path != posixpath.normpath(path)
    ):
        raise InvalidInputError(
            f"{shown_uri(uri)} is not the address of a model's files: an artifact store's has a "
            "scheme, a host or bucket where there is one, and an absolute path without '.' and '..' "
            "parts, as s3://bucket/path. Pass a folder of this machine as its path."
        )


def _registered(uri: str, rest: str) -> ModelReference:
    creation = creation_of(rest)
    if _LOGGED_MODEL.fullmatch(rest) or (creation and creation[0] is IdKind.MODEL):
        return ModelReference(kind="logged", uri=uri, model_id=rest)
    if "@" in rest:
        name, _, alias = rest.rpartition("@")
        return ModelReference(
            kind="alias", uri=uri, name=validation.model_name(name), alias=validation.alias(alias)
        )
    name, _, version = rest.rpartition("/")
    if not name:
        raise InvalidInputError(
            f"{uri!r} names no version: write models:/name/version or models:/name@alias."
        )
    if version[:1].isalpha() and not creation_of(version):
        raise InvalidInputError(
            f"{uri!r} names no version by its number: 'latest' and MLflow's stages are not supported. "
            "Write models:/name/version, or models:/name@alias for the version that an alias has."
        )
    return ModelReference(
        kind="version",
        uri=uri,
        name=validation.model_name(name),
        version=validation.version(version),
    )
