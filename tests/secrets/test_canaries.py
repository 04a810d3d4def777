"""No secret is in any log, error, repr, status, operation, database row, pickle or child's output."""

import base64
import json
import logging
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text
from typer.testing import CliRunner

import hokusai_core
from hokusai_core import (
    ExperimentManager,
    HokusaiError,
    ModelRegistry,
    Settings,
    SyncQueue,
    status,
)
from hokusai_core.cli import application
from hokusai_core.doctor import doctor
from hokusai_core.runtime import Runtime
from tests.secrets.canaries import BASIC, SECRETS, found_in, found_in_files, rows_of
from tests.support import session
from tests.support.stub_server import Answer, StubServer

CREDENTIALS: dict[str, tuple[str, dict[str, str]]] = {
    "userinfo": (f"bob:{SECRETS['userinfo']}@", {}),
    "token": ("", {"MLFLOW_TRACKING_TOKEN": SECRETS["token"]}),
    "password": (
        "",
        {"MLFLOW_TRACKING_USERNAME": "bob", "MLFLOW_TRACKING_PASSWORD": SECRETS["password"]},
    ),
    "api_key": ("", {"HOKUSAI_API_KEY": SECRETS["api_key"]}),
}
JSON = {"Content-Type": "application/json"}


def answers(echo: str) -> dict[str, Answer]:
    """What servers and proxies may answer that show what they were sent."""
    refusal = {"error_code": "INVALID_PARAMETER_VALUE", "message": f"sent: {echo}"}
    failure = {"error_code": "INTERNAL_ERROR", "message": f"http://bob:{echo}@db"}
    return {
        "a proxy's page": Answer(502, echo.encode(), {"Content-Type": f"text/html; echo={echo}"}),
        "a gateway's page that looks like MLflow's": Answer(
            400, json.dumps(refusal).encode(), JSON
        ),
        "an error of MLflow's database": Answer(500, json.dumps(failure).encode(), JSON),
        "not accepted": Answer(401, echo.encode()),
        "a page with status 200": Answer(200, echo.encode(), {"Content-Type": echo}),
    }


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("HOKUSAI_", "MLFLOW_")) and name != "HOKUSAI_TEST_DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOKUSAI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HOKUSAI_AUTO_SYNC", "false")
    monkeypatch.setenv("HOKUSAI_CIRCUIT_OPEN_SECONDS", "0.01")
    monkeypatch.setenv("HOKUSAI_CIRCUIT_OPEN_MAX_SECONDS", "0.02")
    monkeypatch.setenv("HOKUSAI_LATE_EFFECT_SECONDS", "0")


@pytest.fixture
def headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header plugin of MLflow's, as companies have them."""
    from mlflow.tracking.request_header import registry

    class Provider:
        def in_context(self) -> bool:
            return True

        def request_headers(self) -> dict[str, str]:
            return {"X-Company-Key": SECRETS["header"]}

    monkeypatch.setattr(
        registry._request_header_provider_registry, "_registry", [Provider()], raising=True
    )


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Whatever a test adds, and all logs of all libraries at DEBUG: no secret in any of it."""
    caplog.set_level(logging.DEBUG)
    gathered: list[str] = []
    yield gathered
    gathered += [caplog.handler.format(record) for record in caplog.get_records("call")]
    assert any("hokusai" in each for each in gathered)
    for each in gathered:
        assert found_in(each) == [], each


def told(failure: BaseException) -> str:
    """All that a traceback shows, the chain of causes and notes included."""
    return "".join(traceback.format_exception(failure)) + repr(failure)


def exercise(runtime: Runtime, call: Callable[[], Any], seen: list[str]) -> None:
    """Make a call, keep what it raises, and let a worker try what is queued."""
    try:
        seen.append(repr(call()))
    except HokusaiError as failure:
        seen.append(told(failure))
    if runtime.fallback:
        seen.append(repr(runtime.drain().run(wait_seconds=0.0, stop=threading.Event())))


def commands(uri: str) -> Iterator[str]:
    """What every command prints, as text and as JSON."""
    for command in (
        ("status",),
        ("doctor", "--write"),
        ("queue", "list", "--all"),
        ("sync", "--wait", "0"),
    ):
        for form in ((), ("--json",)):
            result = CliRunner().invoke(application, [*command, "--tracking-uri", uri, *form])
            assert result.exit_code in (0, 1), result.output
            yield result.output + result.stderr


@pytest.mark.parametrize("credentials", CREDENTIALS)
@pytest.mark.usefixtures("headers")
def test_servers_and_proxies_that_repeat_what_they_were_sent(
    credentials: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[str]
) -> None:
    userinfo, variables = CREDENTIALS[credentials]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    basic = base64.b64encode(f"bob:{SECRETS[credentials]}".encode()).decode()
    given = answers(f"{SECRETS[credentials]} {basic} Bearer {SECRETS['header']}")
    with StubServer() as server:
        uri = server.url.replace("://", f"://{userinfo}")
        manager = ExperimentManager("canary", mlflow_tracking_uri=uri)
        for answer in given.values():
            server.answers[:] = [answer]
            exercise(manager.runtime, manager.start_run, seen)
            if run := manager.active_run():
                run.end()
            exercise(manager.runtime, lambda: manager.search_runs("params.lr = '1'"), seen)
            seen.append(status(tracking_uri=uri).model_dump_json())
        sent = [str(request.headers) for request in server.requests]
        server.answers[:] = [given["an error of MLflow's database"]]
        if credentials == "userinfo":  # what commands print is the same for all
            seen.extend(commands(uri))
    assert any(found_in(each) for each in sent)  # the server did get them
    queue = SyncQueue(tracking_uri=uri)
    entries = queue.entries(("waiting", "dead"), limit=1000)
    seen += [queue.show(entry.op_id).model_dump_json() for entry in entries]
    manager.runtime.close_connections()
    assert "create_run" in rows_of(tmp_path / "data" / "hokusai.db")
    assert found_in_files((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    "uri",
    [
        "http://bob:{0}@127.0.0.1:1",
        "http://bob:{0}@no such host/",
        "http://bob:{0}@.invalid/",
        "http://bob:{0}@[::1/",
        "http://bob:{0}@127.0.0.1:port/",
        "http://bob:{0}@127.0.0.1:99999/",
        "http://bob:{0}/x#y@127.0.0.1:1/",
        "ftp://bob:{0}@127.0.0.1/",
        "bob:{0}@127.0.0.1:5000",
        "{0}@tracking.example",
        "http://127.0.0.1:1/?token={0}",
        "postgresql+psycopg://bob:{0}@127.0.0.1:1/mlflow",
        "mysql+nodriver://bob:{0}@127.0.0.1:1/mlflow",
    ],
)
def test_addresses_that_do_not_work(uri: str, seen: list[str]) -> None:
    address = uri.format(SECRETS["userinfo"])
    logging.getLogger("hokusai").debug("begin")
    for make in (
        lambda: ExperimentManager("canary", mlflow_tracking_uri=address),
        lambda: ModelRegistry(address),
        lambda: ExperimentManager(ModelRegistry("http://127.0.0.1:1"), address),
        lambda: status(tracking_uri=address),
        lambda: ExperimentManager(backend=address),
        lambda: doctor(tracking_uri=address),
    ):
        try:
            made = make()
            seen.append(repr(made))
            if isinstance(made, ExperimentManager):
                seen.append(repr(made.config))
                try:
                    made.start_run()
                finally:
                    made.runtime.close_connections()
        except HokusaiError as failure:
            seen.append(told(failure))
    seen.append(CliRunner().invoke(application, ["status", "--tracking-uri", address]).output)


def test_an_http_proxy_with_a_password(monkeypatch: pytest.MonkeyPatch, seen: list[str]) -> None:
    with StubServer(Answer(407, SECRETS["proxy"].encode())) as proxy:
        for port in (proxy.port, 1):
            monkeypatch.setenv("http_proxy", f"http://bob:{SECRETS['proxy']}@127.0.0.1:{port}")
            manager = ExperimentManager("canary", mlflow_tracking_uri="http://tracking.example")
            exercise(manager.runtime, manager.start_run, seen)
            if run := manager.active_run():
                run.end()
            seen.append(status(tracking_uri="http://tracking.example").model_dump_json())
            manager.runtime.close_connections()


def test_a_database_password(
    monkeypatch: pytest.MonkeyPatch, postgres_url: str, seen: list[str]
) -> None:
    from sqlalchemy.engine import make_url

    good = make_url(postgres_url)
    monkeypatch.setenv("HOKUSAI_DESTINATION", f"http://bob:{SECRETS['userinfo']}@tracking.example")
    for url in (
        good.set(password=SECRETS["database"]),
        good.set(host="127.0.0.1", port=1, query={}, password=SECRETS["database"]),
        good.set(username="nobody", password=SECRETS["database"]),
        good.set(query={**good.query, "sslpassword": SECRETS["database"]}),
    ):
        given = url.render_as_string(hide_password=False)
        monkeypatch.setenv("HOKUSAI_DATABASE_URL", given)
        manager = ExperimentManager("canary", mlflow_tracking_uri="http://127.0.0.1:1")
        exercise_safely(manager, seen)
        for sql in (ExperimentManager("canary", backend="sql"), ModelRegistry(backend="sql")):
            seen.append(repr(sql))
            try:
                sql.runtime.primary.get()
                seen.append(repr(status(backend="sql")))
            except HokusaiError as failure:
                seen.append(told(failure))
            sql.runtime.close_connections()
        if url.port == 1:
            seen.extend(commands_that_may_fail())
        manager.runtime.close_connections()
    engine = create_engine(good)
    with engine.connect() as connection:
        rows = [
            str(connection.execute(text(f'select * from hokusai."{table}"')).all())
            for table in inspect(connection).get_table_names("hokusai")
        ]
    engine.dispose()
    assert any("create_run" in each for each in rows)
    seen.extend(rows)


def exercise_safely(manager: ExperimentManager, seen: list[str]) -> None:
    try:
        exercise(manager.runtime, manager.start_run, seen)
    except HokusaiError as failure:
        seen.append(told(failure))


def commands_that_may_fail() -> Iterator[str]:
    for command in ("status", "doctor", "sync", "queue list", "db upgrade"):
        arguments = [*command.split(), *(["--wait", "0"] if command == "sync" else [])]
        if command != "db upgrade":
            arguments += ["--tracking-uri", "http://127.0.0.1:1"]
        yield CliRunner().invoke(application, arguments).output


def test_reprs_and_pickles(monkeypatch: pytest.MonkeyPatch, seen: list[str]) -> None:
    monkeypatch.setenv("HOKUSAI_API_KEY", SECRETS["api_key"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://bob:{SECRETS['userinfo']}@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRETS["token"])
    monkeypatch.setenv(
        "HOKUSAI_DATABASE_URL", f"postgresql://anna:{SECRETS['database']}@127.0.0.1:1/h"
    )
    registry = ModelRegistry(api_key=SECRETS["password"])
    manager = ExperimentManager(registry, experiment_name="canary")
    settings = Settings.load()
    run = manager.start_run()
    backend = manager.runtime.primary.get()
    objects = (
        registry,
        manager,
        manager.config,
        settings,
        run,
        run.info,
        backend,
        backend.implementation,
        backend.plugin,
        manager.runtime,
        manager.runtime.selection,
        status(settings),
        doctor(settings),
        SyncQueue(settings),
    )
    seen += [f"{each!r} {each}" for each in objects]
    pickled = pickle.dumps(run)
    seen.append(pickled.decode("latin-1"))
    again = pickle.loads(pickled)
    assert again.run_id == run.run_id
    # The address counts with this process's credentials, which were not in the pickle.
    assert SECRETS["userinfo"] in again._runtime.selection.tracking_uri
    run.end()
    manager.runtime.close_connections()


CHILD = """
import logging, os, sys
logging.basicConfig(level=logging.DEBUG)
before = dict(os.environ)
from hokusai_core import ExperimentManager
manager = ExperimentManager("child")
with manager.start_run() as run:
    run.log_param("lr", 1)
    run.log_text("x", "x.txt")
added = {name for name in os.environ if os.environ[name] != before.get(name)}
print({name: os.environ[name] for name in added})
1 / 0
"""


def test_what_a_process_prints_to_its_end(tmp_path: Path) -> None:
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"http://bob:{SECRETS['userinfo']}@127.0.0.1:1",
        "HOKUSAI_API_KEY": SECRETS["api_key"],
        "MLFLOW_TRACKING_TOKEN": SECRETS["token"],
        "HOKUSAI_DATABASE_URL": f"postgresql://anna:{SECRETS['database']}@127.0.0.1:1/h",
    }
    ended = session.run("-c", CHILD, environment=environment, to_the_end=True)
    assert "ZeroDivisionError" in ended.stderr
    assert "Nothing is lost" in ended.stderr
    assert found_in(ended.stdout + ended.stderr) == []
    assert found_in_files((tmp_path / "data").iterdir()) == []


def test_the_canaries_are_seen() -> None:
    """The looking itself works."""
    assert found_in(f"a {BASIC} b {SECRETS['token']}") == ["token", "basic"]
    assert found_in(repr(hokusai_core)) == []
