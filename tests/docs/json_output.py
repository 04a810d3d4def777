"""Writes the reference of what ``--json`` prints, from the models: ``python -m tests.docs.json_output``.

The page ``docs/reference/json-output.md`` is for people; the schemas beside it are for programs.
"""

import json
from typing import Any

from pydantic import TypeAdapter

from hokusai_core.backends import InstalledBackend
from hokusai_core.cli.sync import SyncReport
from hokusai_core.findings import Diagnosis
from hokusai_core.queue import QueueDetails, QueueEntry
from hokusai_core.registration_events import RegistrationEvent
from hokusai_core.status import Status
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "reference" / "json-output.md"
SCHEMAS = PAGE.parent / "schemas"

OUTPUTS: dict[str, tuple[str, Any]] = {
    "status": ("hokusai status --json", Status),
    "doctor": ("hokusai doctor --json", Diagnosis),
    "sync": ("hokusai sync --json", SyncReport),
    "queue-list": ("hokusai queue list --json", tuple[QueueEntry, ...]),
    "queue-show": ("hokusai queue show OP_ID --json", QueueDetails),
    "events-list": ("hokusai events list --json", tuple[RegistrationEvent, ...]),
    "events-send": ("hokusai events send --json", tuple[RegistrationEvent, ...]),
    "backends": ("hokusai backends --json", tuple[InstalledBackend, ...]),
}
"""Name of the schema, the command, and what it prints."""

_HEAD = """# JSON output

<!-- Written by `python -m tests.docs.json_output`; edit the models instead. -->

What the commands print with `--json`, on standard output and nothing else. The tables are for
people. For programs there is a JSON Schema (draft 2020-12) of each output.

Fields are added in later releases; none is renamed or removed, and none changes its meaning, within a
major version. `null` stands for what is not known. No field holds credentials. The text is ASCII,
so that every encoding takes it.
"""


def schema(name: str) -> dict[str, Any]:
    """Give the JSON Schema of one output."""
    command, model = OUTPUTS[name]
    made = TypeAdapter(model).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": command, **made}


def schema_text(name: str) -> str:
    """Give the text of a schema's file."""
    return json.dumps(schema(name), indent=2) + "\n"


def page_text() -> str:
    """Give the text of the page."""
    parts = [_HEAD]
    for name, (command, _) in OUTPUTS.items():
        made = schema(name)
        parts.append(f"## {command}\n")
        link = f"Schema: [{name}.json](schemas/{name}.json)."
        if made.get("type") == "array":
            model = _resolved(made["items"], made)
            parts.append(f"A list, of which each item has these fields. {link}\n")
        else:
            model = made
            parts.append(f"{link}\n")
        parts.append(_described(model, made))
        for reference in sorted(_references(model)):
            parts.append(f"Each of the type {reference}:\n")
            parts.append(_described(made["$defs"][reference], made))
    return "\n".join(parts)


def _described(model: dict[str, Any], made: dict[str, Any]) -> str:
    description = model.get("description", "").replace("``", "`")
    rows = "\n".join(
        f"| `{field}` | {_type(shape)} |" for field, shape in model["properties"].items()
    )
    return f"{description}\n\n| field | type |\n|---|---|\n{rows}\n"


def _resolved(shape: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    reference = shape.get("$ref")
    found: dict[str, Any] = made["$defs"][reference.rpartition("/")[2]] if reference else shape
    return found


def _references(model: dict[str, Any]) -> set[str]:
    return {
        shape["items"]["$ref"].rpartition("/")[2]
        for shape in model["properties"].values()
        if "$ref" in shape.get("items", {})
    }


def _type(shape: dict[str, Any]) -> str:
    if "anyOf" in shape:
        return " or ".join(_type(each) for each in shape["anyOf"])
    if "enum" in shape:
        return " or ".join(f"`{value}`" for value in shape["enum"])
    if "$ref" in shape:
        return str(shape["$ref"]).rpartition("/")[2]
    if shape.get("type") == "array":
        return f"list of {_type(shape['items'])}"
    if shape.get("type") == "object":
        inner = shape.get("additionalProperties")
        return f"object of {_type(inner)}" if isinstance(inner, dict) else "object"
    return str(shape.get("type", "any"))


if __name__ == "__main__":
    SCHEMAS.mkdir(exist_ok=True)
    PAGE.write_text(page_text(), encoding="utf-8")
    for output in OUTPUTS:
        (SCHEMAS / f"{output}.json").write_text(schema_text(output), encoding="utf-8")
