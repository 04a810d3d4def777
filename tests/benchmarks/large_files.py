"""Memory while a large artifact goes through an outage."""

from tests.acceptance.conftest import SOON
from tests.acceptance.test_large_artifact import MEBIBYTE, Outage, through_an_outage
from tests.benchmarks.harness import Bench, Figure, benchmark
from tests.support.mlflow_server import MlflowServer


@benchmark("artifact-memory")
def artifact_memory(bench: Bench) -> list[Figure]:
    mebibytes = bench.count(1024, least=64)
    with MlflowServer(bench.new_folder()) as server:
        outage = Outage(server.url, server.folder / "artifacts", server.kill, server.start)
        grown = [
            through_an_outage(
                outage,
                lambda _name, uri: bench.manager(uri, **SOON),
                bench.new_folder(),
                size,
            )
            for size in (min(64, mebibytes), mebibytes)
        ][-1]
    return [
        Figure(
            f"memory while an artifact of {mebibytes:,} MiB goes through an outage",
            f"{grown / MEBIBYTE:.0f} MiB above the start",
            "",
            "constant: at most 150 MiB",
            grown <= 150 * MEBIBYTE,
        )
    ]
