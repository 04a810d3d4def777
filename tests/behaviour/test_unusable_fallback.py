"""Where an outage would find no place to keep records, the first write says so, while all is well."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hokusai_backend_sql.examination import examine
from hokusai_backend_sql.plugin import plugin
from hokusai_core import ExperimentManager, Settings
from hokusai_core.fallback_examination import FallbackExamination
from hokusai_core.findings import Finding
from hokusai_core.plugins import BackendConfig
from hokusai_core.testing import MockBackend

NOBODY = 65534
UNREACHABLE = "postgresql+psycopg://hokusai@127.0.0.1:1/hokusai"


def manager_with(caplog: pytest.LogCaptureFixture, **settings: object) -> ExperimentManager:
    caplog.set_level(logging.WARNING, logger="hokusai")
    chosen = Settings.load(fallback="sql", auto_sync=False, **settings)
    return ExperimentManager(backend=MockBackend(), settings=chosen)


@pytest.fixture
def in_the_way(tmp_path: Path) -> Path:
    """A file in the place of the data folder."""
    file = tmp_path / "data"
    file.write_text("no folder")
    return file


def test_a_file_in_the_place_of_the_folder_is_told_once(
    in_the_way: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = manager_with(caplog, data_dir=in_the_way)
    assert caplog.messages == []
    with manager.start_run() as run:
        run.set_tag("stage", "first")
    assert caplog.messages == [
        f"Records of an outage could not be kept here: {in_the_way} is no folder. Move it away, or "
        "set HOKUSAI_DATA_DIR to another folder. `hokusai doctor` says more."
    ]
    assert run.get().info.status == "FINISHED"


def test_the_spool_of_a_journal_on_a_server_is_looked_at(
    in_the_way: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = manager_with(caplog, data_dir=in_the_way, database_url=UNREACHABLE)
    manager.start_run().end()
    (message,) = caplog.messages
    assert f"{in_the_way} is no folder." in message


def test_a_database_that_cannot_be_meant_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = manager_with(caplog, data_dir=tmp_path, database_url="mysql://u:secret@host/db")
    manager.start_run().end()
    (message,) = caplog.messages
    assert "names the driver 'mysql', which is not supported" in message
    assert "secret" not in message


def test_nothing_is_told_or_made_where_the_folder_can_be_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "not" / "yet"
    manager_with(caplog, data_dir=folder).start_run().end()
    assert caplog.messages == []
    assert not folder.exists()


def test_what_cannot_be_examined_ends_no_healthy_job(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)

    def examine_loop(config: BackendConfig) -> tuple[Finding, ...]:
        return (Finding(name="journal", state="ok", text=str(config.data_dir.stat())),)

    broken = replace(plugin, examine=examine_loop)
    settings = Settings.load(data_dir=loop)
    examination = FallbackExamination(
        broken, lambda role: BackendConfig(settings, role=role, data_dir=loop)
    )
    examination.warn_once()
    examination.warn_once()
    (message,) = caplog.messages
    assert "could not be examined (OSError)" in message


def test_a_folder_that_this_user_may_not_write_is_found(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    path = closed / "below" / "hokusai.db"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        if os.getuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        os.write(writer, "\n".join(one.text for one in examine(path, "journal")).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as answer:
        text = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    assert text.endswith("cannot be written by this user.")
    assert Path(text.split(" cannot ")[0]) in path.parents
