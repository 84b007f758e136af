"""The chart as Helm rendered it: fresh, confined, probed where framecap answers, with time to finish."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy.tools import DEPLOY, HALF_A_MINUTE

HELM = DEPLOY / "helm"
CHART = HELM / "framecap"


@pytest.fixture(scope="module")
def rendered() -> dict[str, Any]:
    manifests = yaml.safe_load_all((HELM / "rendered.yaml").read_text())
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in manifests}


def pods(rendered: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield rendered["Deployment/framecap-worker"]["spec"]["template"]
    yield rendered["CronJob/framecap-reconcile"]["spec"]["jobTemplate"]["spec"]["template"]


def test_the_rendered_manifests_are_those_of_the_chart() -> None:
    fingerprint = runpy.run_path(str(HELM / "render.py"))["fingerprint"]()
    assert f"# {fingerprint}\n" in (HELM / "rendered.yaml").read_text(), "the chart changed: run deploy/helm/render.py"


def test_the_schema_takes_the_examples_and_refuses_what_is_missing_or_unknown() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert {error.json_path for error in validator.iter_errors(values)} == {"$.image.repository", "$.frames", "$.queue"}
    example = values | yaml.safe_load((HELM / "example-values.yaml").read_text())
    validator.validate(example)
    assert not validator.is_valid(example | {"scalling": {}})
    assert not validator.is_valid(example | {"frames": "/mnt/frames"})
    assert not validator.is_valid(example | {"settings": {"AWS_SECRET_ACCESS_KEY": "x"}})


def test_the_schema_knows_every_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(values: dict[str, Any], node: dict[str, Any], path: str) -> None:
        node = schema["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        known = set(node["properties"])
        assert set(values) == known - {"global"}, path
        for name, value in values.items():
            if isinstance(value, dict) and {"properties", "$ref"} & set(node["properties"][name]):
                compare(value, node["properties"][name], f"{path}.{name}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "values")


def test_pods_have_no_rights(rendered: dict[str, Any]) -> None:
    for pod in pods(rendered):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]


def test_a_worker_has_time_to_finish(rendered: dict[str, Any]) -> None:
    spec = rendered["Deployment/framecap-worker"]["spec"]["template"]["spec"]
    environment = {one["name"]: one["value"] for one in spec["containers"][0]["env"]}
    assert spec["terminationGracePeriodSeconds"] > float(environment["FRAMECAP__WORKER__GRACE_SECONDS"]) + HALF_A_MINUTE


def test_a_worker_writes_to_its_tmp_and_nowhere_else(rendered: dict[str, Any]) -> None:
    """Decoded images are in memory that has no name, so it needs no /dev/shm."""
    spec = rendered["Deployment/framecap-worker"]["spec"]["template"]["spec"]
    (mount,) = spec["containers"][0]["volumeMounts"]
    assert mount["mountPath"] == "/tmp"
    assert [volume["name"] for volume in spec["volumes"]] == [mount["name"]]


def test_probes_ask_where_framecap_answers(rendered: dict[str, Any]) -> None:
    (container,) = rendered["Deployment/framecap-worker"]["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    (port,) = container["ports"]
    assert str(port["containerPort"]) == environment["FRAMECAP__TELEMETRY__PORT"]
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {one["port"] for one in asked.values()} == {port["name"]}
    # A store that is away makes workers unready; it must not restart them.
    assert [asked[name]["path"] for name in asked] == ["/livez", "/livez", "/readyz"]


def test_keda_scales_the_worker_by_the_worker_s_queue(rendered: dict[str, Any]) -> None:
    scaled = rendered["ScaledObject/framecap-worker"]["spec"]
    assert f"Deployment/{scaled['scaleTargetRef']['name']}" in rendered
    assert "replicas" not in rendered["Deployment/framecap-worker"]["spec"]
    assert scaled["minReplicaCount"] == 0
    length, growth = (trigger["metadata"] for trigger in scaled["triggers"])
    (container,) = rendered["Deployment/framecap-worker"]["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    assert length["queueURL"] == environment["FRAMECAP__INGEST__QUEUE"]
    assert growth["dimensionValue"] == length["queueURL"].rpartition("/")[2]
    assert length["scaleOnInFlight"] == "true"


def test_the_simulated_fleet_is_the_chart_s() -> None:
    from benchmarks.fleet_model import Settings

    scaling = yaml.safe_load((CHART / "values.yaml").read_text())["scaling"]
    simulated = Settings()
    assert (scaling["framesPerSecond"], scaling["messagesPerWorker"]) == (
        simulated.planned_rate,
        simulated.messages_per_worker,
    )
    assert (scaling["min"], scaling["max"]) == simulated.workers
    assert scaling["downPercent"] == round(100 * simulated.down)
