"""Plugins are found, loaded and checked; a broken one is named and hurts nobody else."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hokusai_core.backends import find_backend, installed_backends, open_backend
from hokusai_core.errors import (
    BackendBrokenError,
    BackendNotFoundError,
    BackendNotInstalledError,
    ConfigurationError,
)
from hokusai_core.markers import ENTRY_POINT_GROUP, hookimpl
from hokusai_core.plugins import BackendConfig, BackendPlugin
from hokusai_core.settings import Settings
from hokusai_core.testing import MemoryJournal, MockBackend

CONFIG = BackendConfig(Settings.load())

GOOD = """
from hokusai_core.plugins import BackendPlugin
from hokusai_core.testing.mock import MOCK_CAPABILITIES, MockBackend

plugin = BackendPlugin(
    name="{name}",
    capabilities=MOCK_CAPABILITIES,
    open=lambda config: MockBackend(),
    destination=lambda config: "{name}:",
    {more}
)
"""

Installer = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installer:
    """Put a distribution with plugins on the path, as an installer would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(distribution: str, *, module: str, source: str, names: Sequence[str]) -> None:
        (tmp_path / f"{module}.py").write_text(source)
        metadata = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n"
        )
        lines = "\n".join(f"{name} = {module}:plugin" for name in names)
        (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{lines}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return write


def good(name: str, more: str = "") -> str:
    return GOOD.format(name=name, more=more)


def test_a_plugin_of_another_distribution_is_used(install: Installer) -> None:
    install("acme-backend", module="acme_good", source=good("acme"), names=["acme"])
    opened = open_backend("acme", CONFIG)
    assert (opened.name, opened.destination) == ("acme", "acme:")
    assert opened.can("tracking")
    assert not opened.can("nonsense")
    (listed,) = [each for each in installed_backends() if each.name == "acme"]
    assert (listed.distribution, listed.version, listed.state) == ("acme-backend", "1.2", "ready")
    assert listed.capabilities == ("artifacts", "journal", "logged_models", "registry", "tracking")


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(BackendNotFoundError, match=r"'mlfow'.*Installed: .*mock"):
        find_backend("mlfow")


BROKEN = {
    "fails to import": ("raise RuntimeError('boom')", "RuntimeError: boom"),
    "imports what is not there": ("import no_such_module_at_all", "no_such_module_at_all"),
    "has no plugin": ("other = 1", "AttributeError"),
    "is something else": ("plugin = 'a string'", "str"),
    "is for another contract": (good("acme", "api_version=(2, 0),"), "contract 2"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_named_and_hurts_nobody(install: Installer, case: str) -> None:
    source, cause = BROKEN[case]
    install("acme-backend", module="acme_broken", source=source, names=["acme"])
    with pytest.raises(BackendBrokenError) as caught:
        open_backend("acme", CONFIG)
    message = str(caught.value)
    assert "'acme'" in message
    assert "acme-backend 1.2" in message
    assert cause in message
    states = {each.name: each.state for each in installed_backends()}
    assert states["acme"].startswith("broken: ")
    assert states["mock"] == "ready"
    assert open_backend("mock", CONFIG).name == "mock"


def test_a_missing_requirement_names_the_extra(install: Installer) -> None:
    more = "requires=('json', 'no_such_driver'), extra='acme',"
    install("acme-backend", module="acme_needy", source=good("acme", more), names=["acme"])
    with pytest.raises(BackendNotInstalledError) as caught:
        open_backend("acme", CONFIG)
    assert "no_such_driver" in str(caught.value)
    assert "json" not in str(caught.value)
    assert "[acme]" in str(caught.value)
    states = {each.name: each.state for each in installed_backends()}
    assert "no_such_driver" in states["acme"]


def test_a_name_claimed_twice_is_refused(install: Installer) -> None:
    install("acme-backend", module="acme_one", source=good("acme"), names=["acme"])
    install("other-backend", module="acme_two", source=good("acme"), names=["acme"])
    with pytest.raises(BackendBrokenError, match="more than one") as caught:
        find_backend("acme")
    assert "acme-backend" in str(caught.value)
    assert "other-backend" in str(caught.value)


def test_a_plugin_may_have_two_names(install: Installer) -> None:
    install("acme-backend", module="acme_both", source=good("acme"), names=["acme", "acme2"])
    assert find_backend("acme") is find_backend("acme2")


def test_a_driver_that_fails_to_import_is_told_from_a_broken_plugin() -> None:
    def fail(config: BackendConfig) -> object:
        raise ImportError("libdriver.so.7 is missing")

    plugin = replace(MockBackend().plugin, open=fail, extra="acme")
    with pytest.raises(BackendBrokenError, match=r"libdriver\.so\.7.*\[acme\]"):
        open_backend(plugin, CONFIG)


class Misspelt(MockBackend):
    @hookimpl
    def tracking_log_bach(self, operation, deadline):
        """A hook that no specification has."""


class WrongArguments(MockBackend):
    @hookimpl
    def tracking_log_batch(self, operation):
        """Forgets the deadline."""


class RenamedArgument(MockBackend):
    @hookimpl
    def tracking_log_batch(self, batch, deadline):
        """Calls the operation by another name."""


class Reordered(MockBackend):
    @hookimpl
    def tracking_log_batch(self, deadline, operation):
        """The right names in another order."""


class Missing(MockBackend):
    tracking_log_batch = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("implementation", "named"),
    [
        (Misspelt, "tracking_log_bach"),
        (WrongArguments, "tracking_log_batch"),
        (RenamedArgument, "tracking_log_batch"),
        (Reordered, "tracking_log_batch"),
        (Missing, "tracking_log_batch"),
    ],
)
def test_a_broken_contract_names_the_hook(implementation: type[MockBackend], named: str) -> None:
    plugin = replace(implementation().plugin, name="acme")
    with pytest.raises(BackendBrokenError) as caught:
        open_backend(plugin, CONFIG)
    assert "'acme'" in str(caught.value)
    assert named in str(caught.value)
    assert isinstance(caught.value, ConfigurationError)


def test_only_declared_capabilities_are_bound() -> None:
    journal = MemoryJournal()
    opened = open_backend(journal.plugin, replace(CONFIG, role="journal"))
    assert opened.destination == ""
    assert opened.journal.journal_close()
    with pytest.raises(AttributeError):
        opened.tracking.tracking_check  # noqa: B018 - that the hook is not there is the point


def test_a_capability_without_its_hooks_is_refused() -> None:
    plugin = BackendPlugin(
        name="acme",
        capabilities=frozenset({"journal"}),
        open=lambda config: MockBackend(),
        destination=lambda config: "",
    )
    with pytest.raises(BackendBrokenError, match=r"'journal'.*journal_append.*0 times"):
        open_backend(plugin, replace(CONFIG, role="journal"))


def test_two_opened_backends_are_apart() -> None:
    first, second = MockBackend(), MockBackend()
    opened = [open_backend(mock.plugin, CONFIG) for mock in (first, second)]
    first.down()
    assert opened[1].implementation is second
    assert second.calls == []


def test_a_key_is_not_in_the_configuration_s_repr() -> None:
    assert "secret" not in repr(BackendConfig(Settings.load(), api_key="secret"))
