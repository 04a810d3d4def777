"""What the demo needs, and what of the user's environment it leaves out."""

import importlib.util

import pytest
from typer.testing import CliRunner

from hokusai_core.cli import application
from hokusai_core.demo.environment import clean_environment
from hokusai_core.demo.report import Check, Count, DemoReport


def test_settings_and_proxies_do_not_reach_it() -> None:
    cleaned = clean_environment(
        {
            "PATH": "/bin",
            "HOKUSAI_DATABASE_URL": "postgresql://production",
            "MLFLOW_TRACKING_URI": "http://production",
            "_MLFLOW_SERVER_FILE_STORE": "x",
            "HTTP_PROXY": "http://proxy",
            "https_proxy": "http://proxy",
        }
    )
    assert cleaned["PATH"] == "/bin"
    assert cleaned["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert not any("production" in value or "proxy" in value for value in cleaned.values())
    assert clean_environment(cleaned) == cleaned


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sklearn" else found(name)
    )
    result = CliRunner().invoke(application, ["demo"])
    assert result.exit_code == 2
    assert "pip install 'hokusai-tracking[demo]'" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("expected", "found", "duplicates", "right"),
    [(3, 3, 0, True), (3, 2, 0, False), (3, 3, 1, False), (0, 0, 0, True)],
)
def test_a_count_is_right_where_all_is_there_once(
    *, expected: int, found: int, duplicates: int, right: bool
) -> None:
    count = Count(what="runs", expected=expected, found=found, duplicates=duplicates)
    report = DemoReport(
        counts=(count,),
        checks=(Check(what="all is well", right=True),),
        slowest_call="end",
        slowest_seconds=0.1,
        registration_seconds=1.0,
        outage_seconds=9.0,
        logged_in_outage=1,
        delivered_by_sync=1,
    )
    assert count.right is right
    assert report.right is right
