"""The manifests agree with each other, with the Dockerfile, and with settings, routes and metrics of the service."""

from __future__ import annotations

import re
import shutil
import subprocess
from types import SimpleNamespace
from typing import Any, cast

import promql_parser
import pytest
import yaml

from service.api.telemetry.run_metrics import RunCollector
from service.queueing.monitor import QueueMonitor, QueueNumbers
from service.queueing.queue import RunCounts
from service.settings import Settings
from tests.deploy.manifests import BASE, DEPLOY, ROOT, Object, container_of, named, objects, variables_of, workloads

OURS = ("promptatlas-service", "promptatlas-workers", "promptatlas-extra-workers")


@pytest.mark.parametrize("workload", OURS)
def test_variables_are_settings(workload: str) -> None:
    names = {
        name.removeprefix("PROMPTATLAS_").lower() for name in variables_of(container_of(workload)) if "ATLAS" in name
    }
    # Sources of settings are no settings.
    assert names - {"secrets_dir"} <= set(Settings.model_fields)
    assert {"home", "redis_url", "workers"} <= names


def test_each_command_is_that_of_its_image() -> None:
    for workload, target in zip(OURS, ("service", "worker", "worker"), strict=True):
        container = container_of(workload)
        command = re.search(
            rf"AS {target}\n(?:(?!^FROM).*\n)*?CMD (\[.*\])", (ROOT / "Dockerfile").read_text(), re.MULTILINE
        )
        assert command is not None
        assert container["command"][-3:] == yaml.safe_load(command[1])
        assert container["image"].startswith(f"promptatlas/{target}:")


def test_pods_have_more_time_than_the_processes_in_them() -> None:
    service, worker = container_of("promptatlas-service"), container_of("promptatlas-workers")
    pods = workloads()
    delay_s = int(service["lifecycle"]["preStop"]["exec"]["command"][1])
    settings = variables_of(service)
    assert delay_s + float(settings["PROMPTATLAS_GRACE_S"]) < _grace_s(pods["promptatlas-service"])
    assert float(settings["PROMPTATLAS_DRAIN_S"]) < float(settings["PROMPTATLAS_GRACE_S"])
    # A load balancer that probes /ready notices before the service refuses requests.
    probe = service["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < float(settings["PROMPTATLAS_DRAIN_S"])
    for name in OURS[1:]:
        grace_s = float(variables_of(container_of(name))["PROMPTATLAS_WORKER_GRACE_S"])
        assert grace_s < _grace_s(pods[name])
    assert worker["livenessProbe"]["exec"]["command"] == ["python", "-m", "workers", "--check"]


def _grace_s(pod: Object) -> float:
    return float(pod["spec"]["terminationGracePeriodSeconds"])


def test_selectors_find_the_pods_that_they_mean() -> None:
    expected = {
        ("Service", "promptatlas"): ["promptatlas-service"],
        ("Service", "promptatlas-redis"): ["promptatlas-redis"],
        ("PodDisruptionBudget", "promptatlas-service"): ["promptatlas-service"],
        ("PodDisruptionBudget", "promptatlas-worker"): ["promptatlas-workers"],
        ("NetworkPolicy", "promptatlas-redis"): ["promptatlas-redis"],
    }
    found = {}
    for one in objects():
        if one["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            spec = one["spec"]
            selector = spec.get("podSelector", spec.get("selector"))
            found[one["kind"], one["metadata"]["name"]] = _selected(selector.get("matchLabels", selector))
    assert found == expected
    (rule,) = named("NetworkPolicy", "promptatlas-redis")["spec"]["ingress"]
    (source,) = rule["from"]
    assert set(OURS) <= set(_selected(source["podSelector"]["matchLabels"]))


def _selected(labels: dict[str, str]) -> list[str]:
    pods = workloads()
    return [name for name, pod in pods.items() if labels.items() <= pod["metadata"]["labels"].items()]


def test_each_mount_has_its_volume_and_no_object_holds_a_secret() -> None:
    for pod in workloads().values():
        spec = pod["spec"]
        volumes = {volume["name"] for volume in spec.get("volumes", ())} | {"queue"}
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    assert "Secret" not in {one["kind"] for one in objects()}


def test_pods_meet_the_restricted_security_standard() -> None:
    for pod in workloads().values():
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["spec"]["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


def test_workers_are_scaled_by_metrics_that_the_service_has() -> None:
    spec = named("ScaledObject", "promptatlas-workers")["spec"]
    assert spec["scaleTargetRef"]["name"] in workloads()
    (trigger,) = spec["triggers"]
    selected: list[tuple[str, str]] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = {one.name: one.value for one in node.matchers.matchers}
            assert set(matchers) == {"status", "namespace"}
            selected.append((str(node.name), matchers["status"]))
        return True

    promql_parser.walk(promql_parser.parse(trigger["metadata"]["query"]), visit)
    assert sorted(selected) == sorted(_run_samples())
    # The Deployment leaves the number of workers to KEDA.
    assert "replicas" not in named("Deployment", "promptatlas-workers")["spec"]


def _run_samples() -> list[tuple[str, str]]:
    """Name and status of the service's samples of runs."""
    numbers = QueueNumbers(counts=RunCounts(n_queued=1, n_running=1), n_workers=1)
    collector = RunCollector(cast(QueueMonitor, SimpleNamespace(numbers=numbers)))
    samples = [sample for metric in collector.collect() for sample in metric.samples]
    return [(sample.name, sample.labels["status"]) for sample in samples if sample.name == "promptatlas_n_runs"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
def test_the_gpu_overlay_adds_one_device_to_service_and_workers() -> None:
    command = ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / "gpu")]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    limits = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        for one in yaml.safe_load_all(text)
        if one["kind"] in ("Deployment", "StatefulSet")
    }
    assert {name: limit.get("nvidia.com/gpu") for name, limit in limits.items()} == {
        "promptatlas-service": 1,
        "promptatlas-workers": 1,
        "promptatlas-redis": None,
    }


def test_the_kustomization_lists_existing_files() -> None:
    text = (BASE / "kustomization.yaml").read_text()
    listed = set(re.findall(r"- ([\w.-]+\.yaml)", text))
    present = {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml", "values.yaml"}
    assert listed == present
