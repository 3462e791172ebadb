"""The manifests of ``deploy/kubernetes/base`` and ``deploy/jobs``, read with PyYAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
JOB = DEPLOY / "jobs" / "kubernetes-workers.yaml"
NOT_OBJECTS = ("kustomization.yaml", "values.yaml")

Object = dict[str, Any]


def objects() -> list[Object]:
    """All objects of the manifests, with the job."""
    files = [path for path in sorted(BASE.glob("*.yaml")) if path.name not in NOT_OBJECTS]
    return [found for path in (*files, JOB) for found in yaml.safe_load_all(path.read_text()) if found]


def named(kind: str, name: str) -> Object:
    """The object of a kind and a name; raises KeyError if there is none."""
    for found in objects():
        if (found["kind"], found["metadata"]["name"]) == (kind, name):
            return found
    raise KeyError(f"{kind} {name}")


def workloads() -> dict[str, Object]:
    """Pod templates by the name of their workload."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]
        for found in objects()
        if "template" in found.get("spec", {})
    }


def container_of(workload: str) -> Object:
    """The only container of a workload."""
    (container,) = workloads()[workload]["spec"]["containers"]
    found: Object = container
    return found


def variables_of(container: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of a container as in the pod: the ConfigMap's, then its own; None where a Secret has the value."""
    found: dict[str, Any] = {}
    for source in container.get("envFrom", ()):
        if "configMapRef" in source:
            found |= named("ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {entry["name"]: entry.get("value") for entry in container.get("env", ())}
