"""Without an extra: the core works, and what needs the extra says which one to install."""

import textwrap

import pytest

from tests.acceptance import programs

NOT_INSTALLED = """
    import sys

    class Without:
        '''A finder that does not find what is not installed.'''

        def __init__(self, finder, names):
            self.finder, self.names = finder, names

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in self.names:
                return None
            return self.finder.find_spec(name, path, target)

        def __getattr__(self, name):
            return getattr(self.finder, name)

    sys.meta_path[:] = [Without(finder, set(sys.argv[1].split(","))) for finder in sys.meta_path]

    from hokusai_core import *

    def error_of(call):
        try:
            call()
        except HokusaiError as error:
            print(type(error).__name__, str(error))
        else:
            print("no error")
"""


def without(missing: str, program: str, **variables: object) -> tuple[list[str], list[str]]:
    """Run a program that cannot import some packages; give the lines that it printed."""
    text = textwrap.dedent(NOT_INSTALLED) + textwrap.dedent(program)
    done = programs.run(text, missing, fresh=True, **variables)
    return done.stdout.splitlines(), done.stderr.splitlines()


EVERYTHING = "mlflow,sqlalchemy,alembic,psycopg,pandas,sklearn,numpy,requests,skops,matplotlib"


def test_the_core_works_alone() -> None:
    printed, complaints = without(
        EVERYTHING,
        """
        with ExperimentManager("alone", backend="mock").start_run() as run:
            run.log_metric("loss", 0.5)
            run.log_param("lr", 0.1)
            run.log_text("text", "a.txt")
        print(run.get().info.status, run.get().data.metrics)
        """,
    )
    assert printed == ["FINISHED {'loss': 0.5}"]
    assert complaints == []


@pytest.mark.parametrize(
    ("missing", "backend", "extra"),
    [
        ("mlflow", "mlflow", "hokusai-tracking[mlflow]"),
        ("sqlalchemy,alembic", "sql", "hokusai-tracking[sql]"),
        ("alembic", "postgresql", "hokusai-tracking[sql]"),
    ],
)
def test_a_backend_without_its_packages_is_told_at_construction(
    missing: str, backend: str, extra: str
) -> None:
    program = "error_of(ExperimentManager); error_of(ModelRegistry)"
    printed, _ = without(missing, program, HOKUSAI_BACKEND=backend)
    assert len(printed) == 2
    for line in printed:
        assert line.startswith("BackendNotInstalledError")
        assert extra in line
        assert missing.split(",", maxsplit=1)[0] in line


def test_the_default_fallback_without_its_packages_is_one_warning() -> None:
    printed, complaints = without(
        "sqlalchemy,alembic",
        """
        managers = [ExperimentManager("one"), ExperimentManager("other")]
        error_of(managers[0].start_run)
        """,
        MLFLOW_TRACKING_URI="http://127.0.0.1:1",
    )
    assert len(printed) == 1
    assert printed[0].startswith("UnavailableError"), printed
    assert len(complaints) == 1, complaints
    assert "hokusai-tracking[sql]" in complaints[0]
    assert "no fallback" in complaints[0]


def test_a_fallback_that_was_asked_for_is_an_error() -> None:
    printed, complaints = without(
        "sqlalchemy,alembic",
        "error_of(ExperimentManager); error_of(ModelRegistry)",
        MLFLOW_TRACKING_URI="http://127.0.0.1:1",
        HOKUSAI_FALLBACK="sql",
    )
    assert len(printed) == 2
    for line in printed:
        assert line.startswith("BackendNotInstalledError")
        assert "hokusai-tracking[sql]" in line
    assert complaints == []


@pytest.mark.parametrize("backend", ["mlflow", "sql"])
def test_a_postgresql_address_without_the_driver_is_an_error_at_construction(backend: str) -> None:
    printed, _ = without(
        "psycopg",
        "error_of(ExperimentManager); error_of(ModelRegistry)",
        HOKUSAI_BACKEND=backend,
        MLFLOW_TRACKING_URI="http://127.0.0.1:1",
        HOKUSAI_DATABASE_URL="postgresql://user:hidden@127.0.0.1:1/database",
    )
    assert len(printed) == 2
    for line in printed:
        assert line.startswith("BackendNotInstalledError"), line
        assert "hokusai-tracking[sql]" in line
        assert "hidden" not in line


def test_sqlite_needs_no_postgresql_driver() -> None:
    printed, _ = without(
        "psycopg",
        """
        with ExperimentManager("file").start_run() as run:
            run.log_metric("loss", 0.5)
        print(run.get().data.metrics)
        """,
        HOKUSAI_BACKEND="sql",
    )
    assert printed == ["{'loss': 0.5}"]


def test_a_frame_without_pandas_names_the_extra() -> None:
    printed, _ = without(
        "pandas",
        """
        manager = ExperimentManager("frame", backend="mock")
        manager.start_run().end()
        error_of(lambda: manager.search_runs(output_format="pandas"))
        print(len(manager.search_runs()))
        """,
    )
    assert printed[0].startswith("BackendNotInstalledError")
    assert "hokusai-tracking[ml]" in printed[0]
    assert printed[1:] == ["1"]


def test_without_mlflow_uris_and_saved_folders_still_register() -> None:
    printed, _ = without(
        "mlflow",
        """
        import pathlib, tempfile
        from sklearn.linear_model import LogisticRegression

        registry = ModelRegistry()
        estimator = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
        with ExperimentManager(registry, experiment_name="models").start_run() as run:
            error_of(lambda: run.log_model(estimator))
            error_of(lambda: registry.register_baseline(estimator, "estimator"))
            print(len(registry.list_registered_models()))
            folder = pathlib.Path(tempfile.mkdtemp()) / "saved"
            folder.mkdir()
            (folder / "MLmodel").write_text("flavors: {}")
            (folder / "model.bin").write_bytes(b"weights")
            logged = run.log_model(folder, "saved")
        for source in (logged, logged.model_uri, str(folder), "s3://bucket/model"):
            version = registry.register_model(source, "registered")
            print(version.version, version.sync_state)
        copy = registry.download_model("models:/registered/3", tempfile.mkdtemp())
        print((copy / "model.bin").read_bytes())
        error_of(lambda: registry.load_model("models:/registered/3"))
        """,
        HOKUSAI_BACKEND="sql",
    )
    for line in (*printed[:2], printed[-1]):
        assert line.startswith("BackendNotInstalledError"), printed
        assert "hokusai-tracking[mlflow" in line
    assert printed[2] == "0"
    assert printed[3:7] == [f"{number} delivered" for number in (1, 2, 3, 4)]
    assert printed[7] == "b'weights'"
