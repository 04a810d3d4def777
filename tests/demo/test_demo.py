"""The demo itself, once: every count right, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

COMMAND = [sys.executable, "-m", "hokusai_core", "demo", "--json"]


def environment(folder: Path) -> dict[str, str]:
    """Settings that would lead a careless demo astray."""
    return os.environ | {
        "TMPDIR": str(folder),
        "HOKUSAI_BACKEND": "mock",
        "HOKUSAI_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
    }


def processes_of(folder: Path) -> list[int]:
    """Processes that were started with a path below the folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(folder) in word for word in words):
            found.append(process.pid)
    return found


def reachable_folder(tmp_path: Path) -> Path:
    """A folder that the database's own user can enter, as the system's temporary folder is."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.getuid() and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o055)
        if each == Path("/tmp"):
            break
    return folder


@pytest.mark.soak  # a minute long; the checks run the demo itself besides
def test_every_count_is_right_and_nothing_is_left(tmp_path: Path) -> None:
    folder = reachable_folder(tmp_path)
    result = subprocess.run(
        COMMAND, env=environment(folder), capture_output=True, text=True, timeout=220, check=False
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["right"] is True
    assert all(check["right"] for check in report["checks"])
    counts = {count["what"]: count for count in report["counts"]}
    assert counts["metric points"]["found"] == counts["metric points"]["expected"] >= 240
    assert counts["runs"]["found"] == 3
    assert counts["model versions"]["found"] == 1
    assert not any(count["duplicates"] for count in counts.values())
    assert report["slowest_seconds"] < 30
    assert report["delivered_by_sync"] > 50
    assert "Killing the server" in result.stderr
    assert "Not delivered" not in result.stderr
    assert processes_of(folder) == []
    assert list(folder.glob("hokusai-demo-*")) == []


def test_a_request_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = reachable_folder(tmp_path)
    process = subprocess.Popen(
        COMMAND,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Starting an MLflow server"):
                break
        until = time.monotonic() + 60
        while not any("mlflow" in word for word in _words(folder)) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode != 0
    assert processes_of(folder) == []
    assert list(folder.glob("hokusai-demo-*")) == []


def _words(folder: Path) -> list[str]:
    words: list[str] = []
    for pid in processes_of(folder):
        try:
            words += psutil.Process(pid).cmdline()
        except psutil.NoSuchProcess:
            continue
    return words
