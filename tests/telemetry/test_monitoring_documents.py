"""Metrics page and alert rules name the metrics that there are, with their labels."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hokusai_core import ExperimentManager, Settings
from hokusai_core.metrics import SyncMetrics
from hokusai_core.testing import MockBackend

DOCS = Path(__file__).parents[2] / "docs"
RULES = DOCS / "examples" / "prometheus-alerts.yml"
_LABELS = re.compile(r"(\w+) *(?:=|!=|=~)")


@pytest.fixture
def metrics(tmp_path: Path) -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each metric, as a worker that has made a call shows them."""
    manager = ExperimentManager(
        "documents",
        backend=MockBackend(),
        settings=Settings.load(data_dir=tmp_path, fallback="sql", auto_sync=False),
    )
    made = SyncMetrics(manager.runtime)
    manager.start_run().end()
    found = {}
    for family in made.registry.collect():
        labels = set().union(*(sample.labels for sample in family.samples)) - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = (family.type, labels)
    manager.runtime.close_connections()
    return found


def test_the_page_lists_all_metrics(metrics: dict[str, tuple[str, set[str]]]) -> None:
    text = (DOCS / "reference" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(hokusai_\w+)` \| (\w+) \| (.*?) ?\| .+ \|$", text, re.MULTILINE)
    described = {
        name: (kind, {"destination", *re.findall(r"`(\w+)`", labels)})
        for name, kind, labels in rows
    }
    assert described == metrics


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_each_rule_is_whole_and_told_in_the_page() -> None:
    page = (DOCS / "how-to" / "monitor.md").read_text(encoding="utf-8")
    names = [rule["alert"] for rule in rules()]
    assert re.findall(r"^\| `(Hokusai\w+)` \|", page, re.MULTILINE) == names
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_rules_use_metrics_and_labels_that_exist(
    metrics: dict[str, tuple[str, set[str]]],
) -> None:
    for rule in rules():
        expression = rule["expr"]
        assert expression.count("(") == expression.count(")")
        used = re.findall(r"(hokusai_\w+)(?:\{([^}]*)\})?", expression)
        assert used, rule["alert"]
        for name, selectors in used:
            base = re.sub(r"_(count|sum|bucket)$", "", name)
            assert base in metrics, name
            assert set(_LABELS.findall(selectors)) <= metrics[base][1], name
        for grouping in re.findall(r"by \(([^)]*)\)", expression):
            labels = {label.strip() for label in grouping.split(",")}
            known = set().union(*(metrics[re.sub(r"_(count|sum)$", "", n)][1] for n, _ in used))
            assert labels <= known
