"""Construction does no I/O, and nothing global is touched: not even by a whole run."""

import json
import textwrap
import uuid
from pathlib import Path

from tests.acceptance import programs
from tests.acceptance.conftest import MakeManager
from tests.support.fault_proxy import FaultProxy
from tests.support.mlflow_server import MlflowServer

UNREACHABLE = {
    "MLFLOW_TRACKING_URI": "http://unreachable.invalid:5000",
    "HOKUSAI_DATABASE_URL": "postgresql://user:hidden@unreachable.invalid/database",
}

WATCH = """
    import sys, threading

    done = []

    def watch(event, arguments):
        if event == "open" and set("wax+") & set(str(arguments[1] or "")):
            done.append((event, str(arguments[0])))
        elif event.startswith(("socket.connect", "socket.getaddrinfo", "sqlite3.connect", "os.mkdir",
                               "subprocess", "os.putenv", "os.unsetenv")):
            done.append((event, str(arguments)))

    from hokusai_core import *
    sys.addaudithook(watch)
"""
PATTERNS = """
    class Registry:
        tracking_uri = "http://elsewhere.invalid:5000"

        def register_baseline(self): ...

    for make in (
        lambda: ModelRegistry(),
        lambda: ModelRegistry("http://positional.invalid"),
        lambda: ModelRegistry(tracking_uri="http://keyword.invalid", api_key="key"),
        lambda: ModelRegistry(api_key="key", api_endpoint="https://api.invalid"),
        lambda: ModelRegistry(backend="mock"),
        lambda: ExperimentManager(),
        lambda: ExperimentManager("name"),
        lambda: ExperimentManager(ModelRegistry()),
        lambda: ExperimentManager(registry=ModelRegistry()),
        lambda: ExperimentManager("name", registry=ModelRegistry()),
        lambda: ExperimentManager("name", ModelRegistry()),
        lambda: ExperimentManager(experiment_name="name"),
        lambda: ExperimentManager(experiment_name="name", registry=ModelRegistry()),
        lambda: ExperimentManager(mlflow_tracking_uri="http://keyword.invalid"),
        lambda: ExperimentManager(Registry()),
        lambda: ExperimentManager(backend="mock"),
    ):
        made = make()
        repr(made), made.tracking_uri
    print(done)
    print(sorted({"mlflow", "sqlalchemy", "alembic", "psycopg", "pandas", "sklearn", "requests"}
                 & set(sys.modules)))
    print(threading.active_count())
"""


def test_construction_opens_nothing_and_imports_no_driver() -> None:
    done = programs.run(
        textwrap.dedent(WATCH) + textwrap.dedent(PATTERNS), fresh=True, **UNREACHABLE
    )
    assert done.stdout.splitlines() == ["[]", "[]", "1"]
    assert done.stderr == ""


def test_a_primary_in_a_database_is_constructed_without_opening_it() -> None:
    program = """
        registry = ModelRegistry()
        ExperimentManager(registry), ExperimentManager("name", backend="postgresql")
        print(done, threading.active_count())
    """
    text = textwrap.dedent(WATCH) + textwrap.dedent(program)
    done = programs.run(text, fresh=True, HOKUSAI_BACKEND="sql", **UNREACHABLE)
    assert done.stdout.splitlines() == ["[] 1"]
    assert done.stderr == ""


def test_the_watch_sees_a_first_write() -> None:
    """The proof that the tests above can fail."""
    program = """
        ExperimentManager("name", settings=Settings.load(auto_sync=False)).start_run()
        print(sorted({event for event, _ in done}))
    """
    done = programs.run(
        textwrap.dedent(WATCH) + textwrap.dedent(program),
        MLFLOW_TRACKING_URI="http://127.0.0.1:1",
    )
    (line,) = done.stdout.splitlines()
    assert "socket.connect" in line
    assert "sqlite3.connect" in line
    assert "os.mkdir" in line


WHOLE_RUN = """
    import json, os, sys
    import mlflow
    from mlflow.tracking import fluent
    from sklearn.linear_model import LogisticRegression

    mlflow.set_tracking_uri(f"sqlite:///{sys.argv[2]}/of-the-user.db")
    os.environ["MLFLOW_EXPERIMENT_ID"] = "77"
    os.environ["MLFLOW_TRACKING_TOKEN"] = "token of the user"

    def state():
        ignored = ("_MLFLOW_TELEMETRY_SESSION_ID", "KMP_")
        variables = {k: v for k, v in os.environ.items() if not k.startswith(ignored)}
        return {
            "environment": variables,
            "tracking": mlflow.get_tracking_uri(),
            "registry": mlflow.get_registry_uri(),
            "experiment": fluent._active_experiment_id,
            "run": mlflow.active_run() and mlflow.active_run().info.run_id,
            "folder": os.getcwd(),
            "files": sorted(os.listdir()),
        }

    os.chdir(sys.argv[2])
    before = state()
    seen = []
    from hokusai_core import ExperimentManager, ModelRegistry
    registry = ModelRegistry(sys.argv[1])
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    name = sys.argv[3]
    with ExperimentManager(registry, experiment_name=name).start_run() as run:
        run.log_metric("loss", 0.5)
        run.log_params({"lr": 0.1})
        run.log_text("text", "a.txt")
        seen.append(state())
        logged = run.log_model(model, registered_model_name=name)
        seen.append(state())
    registry.set_alias(name, "production", 1)
    registry.load_model(f"models:/{name}@production").predict([[0.0]])
    registry.search_model_versions(name)
    seen.append(state())
    print(json.dumps([before == each for each in seen]))
    print([(before[k], e[k]) for e in seen for k in before if before[k] != e[k]], file=sys.stderr)
"""


def test_a_whole_run_leaves_the_users_mlflow_alone(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    folder = tmp_path / "working folder"
    folder.mkdir()
    name = f"global {uuid.uuid4().hex[:12]}"
    done = programs.run(WHOLE_RUN, mlflow_server.url, str(folder), name, fresh=True)
    assert json.loads(done.stdout) == [True, True, True], done.stderr


def test_two_managers_with_different_servers_and_settings_do_not_mix(
    mlflow_server: MlflowServer, make_manager: MakeManager, tmp_path: Path
) -> None:
    """Two addresses of one server: each sees its own requests only, and fails on its own."""
    first_name, second_name = f"first {tmp_path}", f"second {tmp_path}"
    with FaultProxy(mlflow_server.port) as one, FaultProxy(mlflow_server.port) as other:
        first = make_manager(first_name, one.url, api_key="first-key", data_dir=f"{tmp_path}/1")
        second = make_manager(second_name, other.url, api_key="second-key", long_values="error")
        with first.start_run() as left, second.start_run() as right:
            one.mode = "refuse"
            left.log_metric("loss", 1.0)
            right.log_metric("loss", 2.0)
            assert (left.sync_state, right.sync_state) == ("pending", "delivered")
            left.log_param("long", "x" * 6001)
            one.mode = "pass"
        assert left.wait(30) == left.run_id
        assert right.wait(30) == right.run_id
        assert first.get_run(left.run_id).data.metrics == {"loss": 1.0}
        assert [run.info.run_id for run in second.search_runs()] == [right.run_id]
        for proxy, key in ((one, "first-key"), (other, "second-key")):
            assert proxy.requests
            assert all(f"Bearer {key}" in request for request in proxy.requests)
