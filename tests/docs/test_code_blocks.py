"""What the documentation shows works."""

import configparser
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from hokusai_core.cli import application
from tests.docs.conftest import Run
from tests.docs.pages import (
    PAGES,
    ROOT,
    blocks_of,
    commands_of,
    exports_of,
    name_of,
    script_of,
)

LANGUAGES = {"python", "bash", "console", "text", "toml", "ini", "yaml"}
PROGRAMS = {"export", "hokusai", "mlflow", "pip", "python", "python3"}
PROGRAMS_OF_ENVIRONMENT = {"hokusai", "lint-imports", "mkdocs", "mypy", "pip", "python", "ruff"}

with_python = [page for page in PAGES if script_of(page)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_names_a_language_that_is_checked(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in LANGUAGES, f"line {block.first_line}"


@pytest.mark.parametrize("page", with_python, ids=name_of)
def test_python_blocks_run(
    page: Path, tmp_path: Path, run_python: Run, with_servers: Callable[[str], str]
) -> None:
    script = tmp_path / f"{page.stem}.py"
    script.write_text(with_servers(script_of(page)), encoding="utf-8")
    environment = {name: with_servers(value) for name, value in exports_of(page).items()}
    result = run_python(str(script), environment=environment)
    assert result.returncode == 0, f"line numbers are those of {name_of(page)}:\n{result.stderr}"


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=name_of)
def test_commands_exist(page: Path, help_of: Callable[[tuple[str, ...]], str]) -> None:
    for command in commands_of(page):
        program, *arguments = command.split()
        path = Path(program)
        if path.parent == Path(".venv/bin"):
            assert path.name in PROGRAMS_OF_ENVIRONMENT, command
        elif path.parent != Path():
            assert (ROOT / program).is_file(), command
        else:
            assert program in PROGRAMS, command
        for extra in re.findall(r"\[([\w,]+)\]", command):
            assert set(extra.split(",")) <= set(_extras()), command
        if path.name == "hokusai":
            words = tuple(word for word in arguments if not word.startswith("-"))
            text = help_of(words)
            for option in arguments:
                assert not option.startswith("--") or option in text, command


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_configuration_files_are_well_formed(
    page: Path, help_of: Callable[[tuple[str, ...]], str]
) -> None:
    for block in blocks_of(page):
        text = "\n".join(block.lines)
        commands: list[list[str]] = []
        if block.language == "yaml":
            commands = list(_commands_in(yaml.safe_load(text)))
        elif block.language == "ini":
            unit = configparser.ConfigParser()
            unit.read_string(text)
            commands = [unit["Service"]["ExecStart"].split()]
        for program, *arguments in commands:
            assert Path(program).name == "hokusai"
            described = help_of(tuple(word for word in arguments if not word.startswith("-")))
            assert all(option in described for option in arguments if option.startswith("-"))


def test_the_reference_describes_every_option(help_of: Callable[[tuple[str, ...]], str]) -> None:
    text = (ROOT / "docs/reference/command.md").read_text(encoding="utf-8")
    for section in text.split("\n## hokusai ")[1:]:
        heading, _, body = section.partition("\n")
        described = set(re.findall(r"^\| `(--[\w-]+)", body, flags=re.MULTILINE))
        options = set(re.findall(r"--[\w-]+", help_of(tuple(heading.split())))) - {"--help"}
        assert described == options, f"hokusai {heading}"


def test_the_reference_describes_every_command() -> None:
    text = (ROOT / "docs/reference/command.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## hokusai (.*)$", text, flags=re.MULTILINE)) == {
        " ".join(words) for words in _commands()
    }


@pytest.fixture
def help_of() -> Callable[[tuple[str, ...]], str]:
    """Gives the help of one of our commands, which fails where there is no such command."""
    runner = CliRunner()

    def ask(words: tuple[str, ...]) -> str:
        wide = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
        result = runner.invoke(application, [*words, "--help"], env=wide)
        assert result.exit_code == 0, f"hokusai {' '.join(words)}:\n{result.output}"
        return result.output

    return ask


def _commands_in(manifest: Any) -> Iterator[list[str]]:
    """Every value named "command" in a manifest."""
    if isinstance(manifest, dict):
        if "command" in manifest:
            yield manifest["command"]
        manifest = list(manifest.values())
    if isinstance(manifest, list):
        for item in manifest:
            yield from _commands_in(item)


@cache
def _extras() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["optional-dependencies"])


def _commands() -> Iterator[tuple[str, ...]]:
    """The names of all commands, those of a group with the group's."""
    group: Any = typer.main.get_command(application)
    for name, command in group.commands.items():
        below = getattr(command, "commands", None)
        yield from ((name, inner) for inner in below) if below else [(name,)]
