"""Which database a configuration means, and its identity."""

import subprocess
import sys
from pathlib import Path

import pytest

from hokusai_backend_sql.database_url import database_url, describe
from hokusai_backend_sql.plugin import plugin
from hokusai_core.backends import check_drivers
from hokusai_core.errors import BackendNotInstalledError, ConfigurationError
from hokusai_core.plugins import BackendConfig, Role
from hokusai_core.settings import Settings

SECRET = "hush-hush"


def config(tmp_path: Path, url: str | None = None, role: Role = "primary") -> BackendConfig:
    return BackendConfig(
        settings=Settings.load(database_url=url, data_dir=tmp_path, destination=""), role=role
    )


def test_by_default_it_is_a_file_in_the_data_folder(tmp_path: Path) -> None:
    for url in (None, " "):
        assert database_url(config(tmp_path, url)).database == str(tmp_path / "hokusai.db")


def test_the_folder_of_the_configuration_comes_first(tmp_path: Path) -> None:
    given = BackendConfig(settings=Settings.load(data_dir=tmp_path), data_dir=tmp_path / "other")
    assert database_url(given).database == str(tmp_path / "other" / "hokusai.db")


def test_the_spool_is_a_file_whatever_the_journal_is(tmp_path: Path) -> None:
    url = database_url(config(tmp_path, "postgresql://u@h/d", role="spool"))
    assert url.database == str(tmp_path / "spool.db")


@pytest.mark.parametrize("name", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_is_reached_with_psycopg(tmp_path: Path, name: str) -> None:
    url = database_url(config(tmp_path, f"{name}://u:{SECRET}@h:1/d?sslmode=require"))
    assert url.drivername == "postgresql+psycopg"
    assert (url.password, url.query["sslmode"]) == (SECRET, "require")


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://u:{SECRET}@h/d",
        f"postgresql+psycopg2://u:{SECRET}@h/d",
        f"postgresql://u:{SECRET}@h:port/d",
        SECRET,
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory",
    ],
)
def test_anything_else_is_refused_without_repeating_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="HOKUSAI_DATABASE_URL") as caught:
        database_url(config(tmp_path, url))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_identity_has_no_credentials_and_one_form(tmp_path: Path) -> None:
    names = {
        plugin.destination(config(tmp_path, url))
        for url in (
            f"postgresql://u:{SECRET}@Server/d",
            "postgres://other@server:5432/d?sslmode=require",
            "postgresql+psycopg://server/d",
        )
    }
    assert names == {"postgresql://server:5432/d"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost/d",
        "postgresql://127.0.0.1/d",
        "postgresql:///d?host=/run/postgresql",
    ],
)
def test_what_is_local_names_the_machine(tmp_path: Path, url: str) -> None:
    local = plugin.destination(config(tmp_path, url))
    file = plugin.destination(config(tmp_path))
    assert local.rpartition("@")[2] == file.rpartition("@")[2]
    assert file.startswith(f"sqlite:///{tmp_path}/hokusai.db@")


def test_a_relative_file_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = database_url(config(tmp_path, "sqlite:///here.db"))
    assert url.database == str(tmp_path / "here.db")


def test_a_given_destination_is_the_identity(tmp_path: Path) -> None:
    settings = Settings.load(data_dir=tmp_path, destination="production")
    assert plugin.destination(BackendConfig(settings=settings)) == "production"


def test_a_missing_driver_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_drivers(plugin, config(tmp_path, "postgresql://h/d"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    check_drivers(plugin, config(tmp_path))
    with pytest.raises(BackendNotInstalledError, match=r"psycopg.*hokusai-tracking\[sql\]"):
        check_drivers(plugin, config(tmp_path, "postgresql://h/d"))


def test_a_host_may_be_missing(tmp_path: Path) -> None:
    url = database_url(config(tmp_path, "postgresql:///d"))
    assert describe(url).startswith("postgresql://:5432/d@")


def test_the_manifest_imports_no_driver() -> None:
    code = (
        "import sys, hokusai_backend_sql.plugin; "
        "print([name for name in ('sqlalchemy', 'alembic', 'psycopg') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout == "[]\n"
