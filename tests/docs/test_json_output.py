"""The reference of ``--json`` says what the models are, and the commands print that."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hokusai_core.cli import application
from tests.docs.json_output import OUTPUTS, PAGE, SCHEMAS, page_text, schema, schema_text

WRITE = "run: python -m tests.docs.json_output"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page_text(), WRITE


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_schema_is_up_to_date(name: str) -> None:
    assert (SCHEMAS / f"{name}.json").read_text(encoding="utf-8") == schema_text(name), WRITE
    assert {path.stem for path in SCHEMAS.glob("*.json")} == set(OUTPUTS)


@pytest.mark.parametrize(
    "name", [name for name, (command, _) in OUTPUTS.items() if "OP_ID" not in command]
)
def test_what_is_printed_has_the_shape(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOKUSAI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HOKUSAI_BACKEND", "sql")
    command, _ = OUTPUTS[name]
    printed = CliRunner().invoke(application, command.split()[1:])
    assert printed.exit_code == 0, printed.output
    made = schema(name)
    assert list(misfits(json.loads(printed.stdout), made, made, "$")) == []


def misfits(value: Any, shape: dict[str, Any], whole: dict[str, Any], where: str) -> Iterator[str]:
    """Name each place where a value has not the shape: as far as these schemas go."""
    if "$ref" in shape:
        yield from misfits(value, whole["$defs"][shape["$ref"].rpartition("/")[2]], whole, where)
    elif "anyOf" in shape:
        if all(list(misfits(value, each, whole, where)) for each in shape["anyOf"]):
            yield where
    elif shape.get("type") == "array":
        if not isinstance(value, list):
            yield where
            return
        for number, item in enumerate(value):
            yield from misfits(item, shape["items"], whole, f"{where}[{number}]")
    elif "properties" in shape:
        if set(value) != set(shape["properties"]):
            yield f"{where}: {set(value) ^ set(shape['properties'])}"
            return
        for key, inner in shape["properties"].items():
            yield from misfits(value[key], inner, whole, f"{where}.{key}")
    else:
        types = {
            "string": str,
            "integer": int,
            "number": (int, float),
            "boolean": bool,
            "null": type(None),
            "object": dict,
        }
        wanted = types[shape["type"]]
        wrong = isinstance(value, bool) and shape["type"] != "boolean"
        if wrong or not isinstance(value, wanted) or value not in shape.get("enum", [value]):
            yield where


def test_a_misfit_is_found() -> None:
    made = schema("status")
    assert "$: " in next(misfits({}, made, made, "$"))
    shape = {"type": "array", "items": {"type": "integer"}}
    assert list(misfits([1, "2", True], shape, shape, "$")) == ["$[1]", "$[2]"]
