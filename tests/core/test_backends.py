"""Plugins are found, loaded and checked; a broken one is named and hurts nobody else."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hokusai_core import ExperimentManager, ModelRegistry
from hokusai_core.backends import find_backend, installed_backends, open_backend
from hokusai_core.clock import Deadline
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

DEFECTIVE = """
from hokusai_core.markers import hookimpl
from hokusai_core.plugins import BackendPlugin
from hokusai_core.testing.mock import MOCK_CAPABILITIES, MockBackend


class Backend(MockBackend):
    @hookimpl
    def {defect}: ...


plugin = BackendPlugin(
    name="acme",
    capabilities=MOCK_CAPABILITIES,
    open=lambda config: Backend(),
    destination=lambda config: "acme:",
)
"""

HALF = """
from hokusai_core.markers import hookimpl
from hokusai_core.plugins import BackendPlugin


class Backend:
    @hookimpl
    def tracking_check(self, deadline): ...

    def tracking_log_batch(self, operation, deadline): ...


plugin = BackendPlugin(
    name="acme",
    capabilities=frozenset({"tracking"}),
    open=lambda config: Backend(),
    destination=lambda config: "acme:",
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
    "is for a later contract": (
        good("acme", "api_version=(2, 0),"),
        "contract 2.0, and this release has 1.0. Upgrade hokusai-tracking",
    ),
    "is for an earlier contract": (
        good("acme", "api_version=(0, 9),"),
        "contract 0.9, and this release has 1.0. Upgrade it",
    ),
    "has a version of another form": (good("acme", "api_version='1.0',"), "api_version '1.0'"),
    "declares what there is not": (
        good("acme").replace(
            "capabilities=MOCK_CAPABILITIES", "capabilities=frozenset({'trakcing'})"
        ),
        "'trakcing', which is no capability",
    ),
    "declares no specification": (
        good("acme").replace(
            "capabilities=MOCK_CAPABILITIES", "capabilities=frozenset({'artifacts'})"
        ),
        "declares no specification",
    ),
    "raises in its factory": (
        good("acme").replace("MockBackend()", "1 / 0"),
        "fails to open: ZeroDivisionError",
    ),
    "returns nothing": (good("acme").replace("MockBackend()", "None"), "opens None"),
    "fails to tell its destination": (
        good("acme").replace('"acme:"', "config.nonsense"),
        "destination: AttributeError",
    ),
    "tells something else": (good("acme").replace('"acme:"', "7"), "tells int"),
    "misspells a hook": (
        DEFECTIVE.format(defect="tracking_log_bach(self, operation, deadline)"),
        "'tracking_log_bach', which is no hook (is it 'tracking_log_batch'?)",
    ),
    "has a hook with other arguments": (
        DEFECTIVE.format(defect="tracking_log_batch(self, operation)"),
        "'tracking_log_batch' with the arguments (operation); they must be (operation, deadline)",
    ),
    "implements a half": (HALF, "declares 'tracking' and implements 1 of its"),
}
OPENED = {
    "raises in its factory",
    "returns nothing",
    "fails to tell its destination",
    "tells something else",
    "misspells a hook",
    "has a hook with other arguments",
    "implements a half",
}
"""The cases that are noticed when the backend is opened."""


def test_a_hook_without_its_mark_is_told(install: Installer) -> None:
    install("acme-backend", module="acme_half", source=HALF, names=["acme"])
    with pytest.raises(
        BackendBrokenError, match=r"\(tracking_log_batch lacks the mark @hookimpl\)"
    ):
        open_backend("acme", CONFIG)


def test_a_plugin_for_a_later_minor_contract_is_used_without_what_is_new(
    install: Installer,
) -> None:
    source = good("acme", "api_version=(1, 7),").replace(
        "capabilities=MOCK_CAPABILITIES", "capabilities=MOCK_CAPABILITIES | {'telepathy'}"
    )
    install("acme-backend", module="acme_later", source=source, names=["acme"])
    assert open_backend("acme", CONFIG).can("tracking")
    defective = DEFECTIVE.format(defect="tracking_guess(self, operation, deadline)")
    later = defective.replace('name="acme"', 'name="acme", api_version=(1, 7)')
    install("later-backend", module="later", source=later, names=["later"])
    with pytest.raises(BackendBrokenError, match=r"contract 1\.7.*Upgrade hokusai-tracking"):
        open_backend("later", CONFIG)


def test_what_a_plugin_refuses_of_the_settings_goes_through(install: Installer) -> None:
    source = """
from hokusai_core.errors import ConfigurationError


def refuse(config):
    raise ConfigurationError("ACME_URL is not set.")
""" + good("acme").replace("lambda config: MockBackend()", "refuse")
    install("acme-backend", module="acme_refuses", source=source, names=["acme"])
    with pytest.raises(ConfigurationError, match="ACME_URL") as caught:
        open_backend("acme", CONFIG)
    assert not isinstance(caught.value, BackendBrokenError)
    states = {each.name: each.state for each in installed_backends(check=True)}
    assert states["acme"] == "not configured: ACME_URL is not set."


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
    listed = installed_backends(check=case in OPENED)
    states = {each.name: each.state for each in listed if each.name in ("acme", "mock")}
    assert states["acme"] == f"broken: {message}"
    assert states["mock"] == "ready"
    assert open_backend("mock", CONFIG).name == "mock"


def test_a_missing_requirement_names_the_extra(install: Installer) -> None:
    more = "requires=('json', 'no_such_driver'), extra='acme',"
    install("acme-backend", module="acme_needy", source=good("acme", more), names=["acme"])
    with pytest.raises(BackendNotInstalledError) as caught:
        open_backend("acme", CONFIG)
    assert "no_such_driver" in str(caught.value)
    assert "json" not in str(caught.value)
    assert "pip install 'acme-backend[acme]'" in str(caught.value)
    states = {each.name: each.state for each in installed_backends()}
    assert "no_such_driver" in states["acme"]


def test_a_name_claimed_twice_is_refused(install: Installer) -> None:
    install("acme-backend", module="acme_one", source=good("acme"), names=["acme"])
    install("other-backend", module="acme_two", source=good("acme"), names=["acme"])
    with pytest.raises(BackendBrokenError, match="more than one") as caught:
        find_backend("acme")
    assert "acme-backend" in str(caught.value)
    assert "other-backend" in str(caught.value)
    states = [each.state for each in installed_backends() if each.name == "acme"]
    assert states == [f"broken: {caught.value}"] * 2
    assert open_backend("mock", CONFIG).name == "mock"


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


def test_what_is_not_declared_is_refused_before_anything_is_written() -> None:
    mock = MockBackend()
    plugin = replace(mock.plugin, capabilities=frozenset({"tracking"}), own_journal=False)
    settings = Settings.load(fallback="none")
    manager = ExperimentManager("e", backend=plugin, settings=settings)
    run = manager.start_run()
    with pytest.raises(ConfigurationError, match=r"'mock' cannot do this.*'artifacts'"):
        run.log_text("text", "a.txt")
    with pytest.raises(ConfigurationError, match="'artifacts'"):
        run.list_artifacts()
    with pytest.raises(ConfigurationError, match="'registry'"):
        ModelRegistry(backend=plugin, settings=settings).register_baseline(
            model="s3://b/m", model_type="classification"
        )
    run.log_metric("loss", 0.5)
    run.end()
    hooks = {hook for hook, _ in mock.calls}
    assert not any("artifact" in hook or hook.startswith("registry_") for hook in hooks)


def test_hooks_of_a_capability_that_is_not_declared_may_be_left_out() -> None:
    class OnlyRuns(MockBackend):
        tracking_log_artifact = None  # type: ignore[assignment]
        tracking_get_logged_model = None  # type: ignore[assignment]
        registry_check = None  # type: ignore[assignment]

    plugin = replace(OnlyRuns().plugin, capabilities=frozenset({"tracking"}))
    opened = open_backend(plugin, CONFIG)
    with pytest.raises(ConfigurationError, match="'logged_models'"):
        opened.tracking.tracking_get_logged_model("m-1", Deadline(5))


def test_a_capability_without_its_hooks_is_refused() -> None:
    plugin = BackendPlugin(
        name="acme",
        capabilities=frozenset({"journal"}),
        open=lambda config: MockBackend(),
        destination=lambda config: "",
    )
    with pytest.raises(BackendBrokenError, match=r"'journal'.*0 of its.*journal_append"):
        open_backend(plugin, replace(CONFIG, role="journal"))


def test_two_opened_backends_are_apart() -> None:
    first, second = MockBackend(), MockBackend()
    opened = [open_backend(mock.plugin, CONFIG) for mock in (first, second)]
    first.down()
    assert opened[1].implementation is second
    assert second.calls == []


def test_a_key_is_not_in_the_configuration_s_repr() -> None:
    assert "secret" not in repr(BackendConfig(Settings.load(), api_key="secret"))
