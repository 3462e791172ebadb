"""The Helm chart, by Helm's own linter and renderer and the schemas of Kubernetes, in the environment of ``make charts``."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import BASE, ROOT, Object

FOLDER = ROOT / ".venv-charts"
RENDER = ROOT / "packaging" / "charts" / "render.py"
HEADER = "# Rendered from"
LIMIT_S = 240

pytestmark = pytest.mark.skipif(
    not (FOLDER / ".ready").exists(), reason="there is no environment with Helm: run make charts, with a package source"
)

Values = dict[str, Any]
REQUIRED: Values = {"keys": {"existingSecret": "keys"}, "redis": {"password": "a-password-of-20-chars"}}
GPU: Values = REQUIRED | {
    "models": {"small": "/models/small", "large": "org/large"},
    "settings": {"CACHE_BYTES": 34359738368, "DTYPE": "bfloat16", "DRAIN_FACTOR": 0.5},
    "service": {"gpu": 2, "maxSurge": 0, "maxUnavailable": 1, "nodeSelector": {"gpu": "h200"}},
    "worker": {"gpu": 1, "tolerations": [{"key": "gpu", "operator": "Exists"}]},
    "extraVolumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
    "extraVolumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
    "extraEnv": [{"name": "HF_HUB_OFFLINE", "value": "1"}],
    "keda": {"enabled": True, "minReplicas": 0, "maxReplicas": 64},
    "ingress": {"enabled": True, "host": "atlas.example", "tlsSecret": "tls", "className": "nginx"},
    "serviceMonitor": {"enabled": True, "keySecret": "metrics", "labels": {"release": "prometheus"}},
}
EXTERNAL: Values = {
    "keys": {"existingSecret": "keys"},
    "redis": {"enabled": False, "existingSecret": "redis"},
    "store": {"url": "s3://bucket/folder"},
    "s3": {"region": "eu-west-1", "endpoint": "http://minio:9000", "existingSecret": "s3"},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "role"}},
    "podDisruptionBudget": {"enabled": False},
    "image": {"tag": "1.2.3", "pullSecrets": [{"name": "registry"}]},
}
ACCEPTED = {
    "required": REQUIRED,
    "gpu": GPU,
    "external": EXTERNAL,
    "manifests": yaml.safe_load((BASE / "values.yaml").read_text()),
}
REFUSED = {
    "keys.existingSecret is required": {"redis": REQUIRED["redis"]},
    "redis.password or redis.existingSecret is required": {"keys": REQUIRED["keys"]},
    "/redis/password": REQUIRED | {"redis": {"password": "short"}},
    "invalid propertyName 'REDIS_URL'": REQUIRED | {"settings": {"REDIS_URL": "redis://elsewhere"}},
    "/service/replicas": REQUIRED | {"service": {"replicas": -1}},
    "workrs": REQUIRED | {"workrs": {}},
    "serviceMonitor.keySecret is required": REQUIRED | {"serviceMonitor": {"enabled": True}},
    "ingress.host is required": REQUIRED | {"ingress": {"enabled": True}},
}


@dataclass(frozen=True)
class Rendering:
    """What Helm and the schemas say of one set of values."""

    error: str | None
    files: dict[str, str]
    lint: list[str]
    problems: list[str]

    def named(self, kind: str, name: str) -> Object:
        """An object of the rendering; raises StopIteration if there is none."""
        objects = (one for text in self.files.values() for one in yaml.safe_load_all(text) if one)
        found: Object = next(one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name))
        return found

    def kinds(self) -> set[str]:
        return {one["kind"] for text in self.files.values() for one in yaml.safe_load_all(text) if one}

    def limits(self, workload: str) -> dict[str, Any]:
        """Limits of the only container of a Deployment."""
        (container,) = self.named("Deployment", workload)["spec"]["template"]["spec"]["containers"]
        limits: dict[str, Any] = container["resources"]["limits"]
        return limits


@pytest.fixture(scope="module")
def renderings() -> dict[str, Rendering]:
    """Of all accepted and refused values; Helm runs in its own process, because its library has a Go runtime."""
    cases = {**ACCEPTED, **REFUSED}
    done = subprocess.run(
        [str(FOLDER / "bin" / "python"), str(RENDER), "check"],
        input=json.dumps(list(cases.values())),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: Rendering(**found) for name, found in zip(cases, json.loads(done.stdout), strict=True)}


@pytest.mark.parametrize("name", ACCEPTED)
def test_helm_and_kubernetes_accept_the_chart(renderings: dict[str, Rendering], name: str) -> None:
    found = renderings[name]
    assert (found.error, found.lint, found.problems) == (None, [], [])
    assert {"service.yaml", "workers.yaml", "settings.yaml"} <= set(found.files)


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_values_are_refused_with_their_name(renderings: dict[str, Rendering], name: str) -> None:
    error = renderings[name].error
    assert error is not None
    assert name in error


def test_the_manifests_are_the_rendered_chart(renderings: dict[str, Rendering]) -> None:
    rendered = renderings["manifests"].files
    kept = {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml", "values.yaml"}
    assert kept == set(rendered), "run make manifests"
    for name, text in rendered.items():
        header, _, body = (BASE / name).read_text().partition("\n")
        assert header.startswith(HEADER)
        assert body == text, f"{name} differs: run make manifests"


def test_values_reach_the_objects(renderings: dict[str, Rendering]) -> None:
    gpu, external = renderings["gpu"], renderings["external"]
    settings = gpu.named("ConfigMap", "promptatlas-settings")["data"]
    assert settings["PROMPTATLAS_MODELS"] == "large=org/large,small=/models/small"
    assert settings["PROMPTATLAS_CACHE_BYTES"] == "34359738368"
    assert settings["PROMPTATLAS_DRAIN_FACTOR"] == "0.5"
    assert gpu.limits("promptatlas-service")["nvidia.com/gpu"] == 2
    assert gpu.limits("promptatlas-workers")["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in renderings["required"].limits("promptatlas-service")
    assert {"ScaledObject", "ServiceMonitor", "Ingress", "PersistentVolumeClaim"} <= gpu.kinds()
    assert external.kinds() == {"ServiceAccount", "ConfigMap", "Service", "Deployment"}
    settings = external.named("ConfigMap", "promptatlas-settings")["data"]
    assert settings["PROMPTATLAS_HOME"] == "s3://bucket/folder"
    assert settings["AWS_ENDPOINT_URL"] == "http://minio:9000"
    assert external.named("Deployment", "promptatlas-workers")["spec"]["replicas"] == 1


def test_the_password_is_only_in_the_secret(renderings: dict[str, Rendering]) -> None:
    password = REQUIRED["redis"]["password"]
    found = renderings["required"]
    secret = found.named("Secret", "promptatlas-redis")["stringData"]
    assert secret == {"password": password, "redis_url": f"redis://:{password}@promptatlas-redis:6379/0"}
    assert sum(text.count(password) for text in found.files.values()) == 2
