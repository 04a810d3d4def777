"""The scripts of the tutorial, as its reader runs them: no server, then a server, then sync."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.docs.conftest import Run
from tests.docs.pages import PAGES, ROOT, SERVER_PLACEHOLDER, files_of
from tests.support.mlflow_server import MlflowServer
from tests.support.tcp_gate import TcpGate

TUTORIAL = ROOT / "docs" / "tutorial.md"
STEPS = 100


def test_records_of_a_script_that_ran_without_a_server_arrive_once(
    tmp_path: Path, run_python: Run, mlflow_server: MlflowServer
) -> None:
    with TcpGate("127.0.0.1", mlflow_server.port) as gate:
        url = f"http://127.0.0.1:{gate.port}"
        settings = {"MLFLOW_TRACKING_URI": url}
        script = tmp_path / "work" / "train.py"
        text = files_of(TUTORIAL)["train.py"].replace(SERVER_PLACEHOLDER, url)
        script.write_text(text.replace('"tutorial"', '"tutorial, step 5"'), encoding="utf-8")

        gate.shut()
        trained = run_python("train.py", environment=settings)
        assert trained.returncode == 0, trained.stderr
        run_id, state = trained.stdout.split()
        assert state == "pending"
        assert trained.stderr.count("`hokusai sync`") == 2  # at the outage, and at the end
        status = run_python("-m", "hokusai_core", "status", "--json", environment=settings)
        assert status.returncode == 1
        assert json.loads(status.stdout)["waiting"] > 0

        gate.open()
        delivered = run_python("-m", "hokusai_core", "sync", environment=settings)
        assert delivered.returncode == 0, delivered.stderr
        again = run_python("-m", "hokusai_core", "sync", "--json", environment=settings)
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["delivered"] == 0

    op_id = run_id.removeprefix("hokusai-run-")
    found = _runs_of(mlflow_server, op_id)
    assert len(found) == 1
    assert found[0]["info"]["status"] == "FINISHED"
    points = _history(mlflow_server, found[0]["info"]["run_id"])
    assert sorted(point["step"] for point in points) == list(range(STEPS))


def test_the_script_that_registers_a_model_loads_it_again(
    tmp_path: Path, run_python: Run, mlflow_server: MlflowServer
) -> None:
    script = tmp_path / "work" / "register.py"
    text = files_of(TUTORIAL)["register.py"].replace(SERVER_PLACEHOLDER, mlflow_server.url)
    script.write_text(text, encoding="utf-8")
    registered = run_python("register.py")
    assert registered.returncode == 0, registered.stderr
    uri, _, prediction = registered.stdout.strip().partition(" ")
    assert uri.startswith("models:/tutorial-model/")
    assert prediction == "[0, 1]"


def test_no_other_page_has_scripts() -> None:
    scripts = {page: set(files_of(page)) for page in PAGES if files_of(page)}
    assert scripts == {TUTORIAL: {"train.py", "register.py"}}


def _runs_of(server: MlflowServer, op_id: str) -> list[Any]:
    """The runs that carry the creation's id, as MLflow itself tells them."""
    experiment = _ask(server, "experiments/get-by-name?experiment_name=tutorial%2C%20step%205")
    query = {
        "experiment_ids": [experiment["experiment"]["experiment_id"]],
        "filter": f"tags.`hokusai.op_id` = '{op_id}'",
        "run_view_type": "ALL",
    }
    runs: list[Any] = _ask(server, "runs/search", query).get("runs", [])
    return runs


def _history(server: MlflowServer, run_id: str) -> list[Any]:
    points: list[Any] = _ask(
        server, f"metrics/get-history?run_id={run_id}&metric_key=loss&max_results=1000"
    )["metrics"]
    return points


def _ask(server: MlflowServer, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        f"{server.url}/api/2.0/mlflow/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
