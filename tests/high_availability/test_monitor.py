"""What the how-to tells to watch is there."""

import re
import urllib.error
import urllib.request

import pytest

from tests.high_availability.cluster import EXAMPLES, Cluster

pytestmark = [pytest.mark.high_availability, pytest.mark.timeout(300)]

PAGE = EXAMPLES.parents[1] / "how-to/run-mlflow-highly-available.md"


def test_the_figures_exist(cluster: Cluster) -> None:
    names = set(re.findall(r"`(haproxy_\w+)", PAGE.read_text(encoding="utf-8")))
    address = f"http://127.0.0.1:{cluster.proxy.monitor_port}/metrics"
    with urllib.request.urlopen(address, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    assert len(names) >= 4
    assert names <= {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")}
    assert 'haproxy_server_status{proxy="mlflow",server="mlflow1",state="UP"} 1' in lines


def test_a_name_that_is_not_allowed_is_refused(cluster: Cluster) -> None:
    """Why `MLFLOW_SERVER_ALLOWED_HOSTS` has to name all that clients use."""
    address = f"{cluster.url}/api/2.0/mlflow/experiments/get?experiment_id=0"
    statuses = {}
    for host in ("mlflow.example", "mlflow.example:5000", "other.example"):
        request = urllib.request.Request(address, headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                statuses[host] = answer.status
        except urllib.error.HTTPError as error:
            statuses[host] = error.code
            error.close()
    assert statuses == {"mlflow.example": 200, "mlflow.example:5000": 200, "other.example": 403}
