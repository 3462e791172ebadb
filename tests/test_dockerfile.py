"""The Dockerfile copies files that exist and pass .dockerignore, uses the package's versions, and names no package index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COPIED = sorted(
    {
        source
        for words in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in words.split()[:-1]
    }
)


def test_the_torch_version_is_that_of_the_package() -> None:
    required = re.search(r'"torch==([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    built = re.search(r"^ARG TORCH_VERSION=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert required is not None
    assert built is not None
    assert required[1] == built[1]


@pytest.mark.parametrize("source", COPIED)
def test_copied_files_exist_and_pass_dockerignore(source: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert f"!{source}" in ignored
    # The demo model may not be trained yet.
    assert source == "demo/model" or (ROOT / source).exists()


@pytest.mark.parametrize("path", ["Dockerfile", "Makefile", "deploy/compose.yaml", ".ci/run"])
def test_packages_come_from_the_default_index(path: str) -> None:
    hosts = set(re.findall(r"https?://([^\s'\"/:]+)", (ROOT / path).read_text()))
    assert hosts <= {"127.0.0.1"}
    assert re.search(r"^ARG TORCH_ARGS=$", DOCKERFILE, re.MULTILINE)


def test_each_image_runs_the_module_that_it_has() -> None:
    runtime = DOCKERFILE.split(" AS runtime")[1]
    for target, module, absent in (("service", "service", "workers"), ("worker", "workers", None)):
        stage = runtime.split(f" AS {target}\n")[1].split("\nFROM")[0]
        assert f'\nCMD ["python", "-m", "{module}"]' in stage
        assert f"COPY {module} /app/{module}" in stage
        if absent is not None:
            assert f"COPY {absent}" not in stage
            assert "PROMPTATLAS_WORKERS=0" in stage


def test_images_can_use_stores_in_s3() -> None:
    extras = re.findall(r'install "/src\[(.*)\]"', DOCKERFILE)
    assert [extra.split(",") for extra in extras] == [
        ["dev-service", "dev-s3", "dev-otel", "gguf"],
        ["dev-workers", "dev-s3", "dev-otel", "gguf"],
    ]


def test_images_run_without_root_and_have_health_checks() -> None:
    runtime = DOCKERFILE.split(" AS runtime")[1]
    assert "USER atlas" in runtime.split("FROM")[0]
    assert "USER root" not in runtime
    for target in ("service", "worker"):
        stage = runtime.split(f" AS {target}\n")[1].split("\nFROM")[0]
        assert "HEALTHCHECK" in stage
        assert "CMD [" in stage.split("HEALTHCHECK")[1]


def test_compose_builds_existing_targets_and_requires_keys() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    service, worker = services["service"], services["worker"]
    for built in (service, worker):
        assert f" AS {built['build']['target']}\n" in DOCKERFILE
        assert built["environment"]["PROMPTATLAS_REDIS_URL"].startswith("redis://redis:")
        assert built["volumes"] == ["store:/data", "${MODELS_FOLDER:-../models}:/models:ro"]
        # A model that only one of them hosts would fail the runs of the other.
        assert built["environment"]["PROMPTATLAS_MODELS"] == "${PROMPTATLAS_MODELS:-}"
    assert (ROOT / "deploy" / service["build"]["context"] / "Dockerfile").resolve() == ROOT / "Dockerfile"
    assert ":?" in service["environment"]["PROMPTATLAS_API_KEYS"]
    assert "redis" in services
    for name in ("service", "worker"):
        gpu = services[f"{name}-gpu"]
        assert services[name].items() <= gpu.items()
        assert gpu["profiles"] == ["gpu"]
        assert "profiles" not in services[name]
        (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
    assert services["service-gpu"]["networks"] == {"default": {"aliases": ["service"]}}
