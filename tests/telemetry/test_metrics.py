"""The metrics: the names that were promised, labels that are bounded, and a dashboard and alerts that use what there is."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.registry import REGISTRY

import framecap.telemetry  # noqa: F401 - registers them

ROOT = Path(__file__).parents[2]
PROMISED: dict[str, set[str]] = {
    "framecap_frames_captured_total": {"camera"},
    "framecap_frames_total": {"status"},
    "framecap_stage_duration_seconds": {"stage"},
    "framecap_pending_frames": set(),
    "framecap_oldest_pending_seconds": set(),
    "framecap_source_reconnects_total": {"camera"},
    "framecap_dropped_frames_total": {"camera", "reason"},
    "framecap_store_errors_total": {"operation"},
    "framecap_last_commit_timestamp_seconds": set(),
    "framecap_build_info": {"python", "version"},
    # and more than was promised
    "framecap_source_freezes_total": {"camera"},
    "framecap_spooled_frames": {"camera"},
    "framecap_spooled_bytes": {"camera"},
    "framecap_model_info": {"name", "bundle", "runtime"},
    "framecap_model_reloads_total": {"outcome"},
    "framecap_events_total": {"rule", "outcome"},
    "framecap_events_waiting": {"action"},
    "framecap_events_oldest_waiting_seconds": {"action"},
    "framecap_refined_total": {"outcome"},
    "framecap_refine_waiting": set(),
    "framecap_refine_budget_left": set(),
    "framecap_foreign_sidecars": set(),
}
INFO = {"framecap_build_info": {"python", "version"}, "framecap_model_info": {"name", "bundle", "runtime"}}
EVERYWHERE = {"job", "instance", "process", "le"}  # labels that Prometheus, `framecap run` and histograms add
PROCESS = {"process_resident_memory_bytes", "process_open_fds", "up"}
SUFFIXES = {"counter": "_total", "info": "_info"}


def families() -> dict[str, Metric]:
    """framecap's own, under the name that Prometheus shows."""
    ours = (metric for metric in REGISTRY.collect() if metric.name.startswith("framecap_"))
    return {metric.name + SUFFIXES.get(metric.type, ""): metric for metric in ours}


def labels(name: str) -> set[str]:
    collectors = REGISTRY._names_to_collectors
    found = collectors[name]
    return {*found._labelnames, *INFO.get(name, ())}  # type: ignore[attr-defined]


def test_the_metrics_are_those_that_were_promised_and_documented() -> None:
    assert set(families()) == set(PROMISED)
    for name, wanted in PROMISED.items():
        assert labels(name) == wanted
    page = (ROOT / "docs" / "operations.md").read_text()
    assert set(PROMISED) <= set(re.findall(r"`(framecap_\w+)", page))


def test_every_metric_says_what_it_is() -> None:
    assert all(metric.documentation for metric in families().values())


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\b((?:framecap|process)_\w+|up)\b(?=\{|\[|\)|\s|$)", re.sub(r'"[^"]*"', "", expression)))


def is_there(name: str) -> bool:
    return name in PROMISED or name.removesuffix("_bucket") in PROMISED or name in PROCESS


def check_expression(expression: str) -> None:
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")
    used = names_in(expression)
    assert used
    for name in used:
        assert is_there(name), f"{name} in {expression}"
    known = EVERYWHERE.union(*(PROMISED.get(name.removesuffix("_bucket"), set()) for name in used))
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in group.split(",")} <= known, expression


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    whole: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "framecap.json").read_text())
    return whole


def targets(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [target for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_dashboard_uses_what_there_is_and_all_of_it(dashboard: dict[str, Any]) -> None:
    expressions = [target["expr"] for target in targets(dashboard)]
    for expression in expressions:
        check_expression(expression)
    shown = {name.removesuffix("_bucket") for expression in expressions for name in names_in(expression)}
    assert set(PROMISED) <= shown


def test_the_dashboard_is_one_that_grafana_reads(dashboard: dict[str, Any]) -> None:
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(dashboard)
    assert "id" not in dashboard or dashboard["id"] is None, "an id belongs to one Grafana only"
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] in ("stat", "timeseries", "table")
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"] is not None
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        address = panel["gridPos"]
        assert address["x"] + address["w"] <= 24
    for one, other in itertools.combinations((panel["gridPos"] for panel in panels), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, "two panels overlap"


def test_the_dashboard_asks_the_source_that_its_reader_chose(dashboard: dict[str, Any]) -> None:
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource", "job"}
    asked = {target["datasource"]["uid"] for target in targets(dashboard)}
    assert asked == {"${datasource}"}


def test_the_alerts_of_the_documents_use_what_there_is() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", page, re.DOTALL)
    expressions = re.findall(r"expr: (.*)", block)
    assert len(expressions) >= 5
    for expression in expressions:
        check_expression(expression)
