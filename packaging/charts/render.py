"""Render the Helm chart with Helm's own library, in the environment of ``make charts``.

``python render.py manifests`` writes ``deploy/kubernetes/base`` from the chart and the ``values.yaml`` there.
``python render.py check`` reads a JSON list of values from standard input and writes for each one what Helm's linter, its
renderer and the schemas of Kubernetes say.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import helm_python
import kubernetes_validate
import yaml

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy" / "helm" / "promptatlas"
MANIFESTS: Final = ROOT / "deploy" / "kubernetes" / "base"
RELEASE: Final = "promptatlas"
# The oldest version that the chart names, and the newest one whose schemas are here.
KUBERNETES: Final = ("1.25.0", "1.37.0")
# Kinds of KEDA and of the Prometheus operator: their schemas are not those of Kubernetes.
CUSTOM: Final = ("ScaledObject", "ServiceMonitor")
HEADER: Final = "# Rendered from deploy/helm/promptatlas and values.yaml by `make manifests`. Do not edit.\n"

Values = Mapping[str, Any]


def rendered(values: Values) -> dict[str, str]:
    """Text of each template by its file name; templates without objects are left out.

    Raises:
        helm_python.HelmError: the values are refused, or a template fails.
    """
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(dict(values))
        files = chart.render(dict(values), name=RELEASE, namespace=RELEASE)
    found = {Path(path).name: text.strip() + "\n" for path, text in files.items() if path.endswith(".yaml")}
    return {name: text for name, text in found.items() if objects_of(text)}


def objects_of(text: str) -> list[dict[str, Any]]:
    """The objects of a file with several YAML documents."""
    return [found for found in yaml.safe_load_all(text) if found]


def lint_messages(values: Values) -> list[str]:
    """Warnings and errors of ``helm lint --strict``, for each version of Kubernetes."""
    messages = []
    for version in KUBERNETES:
        report = helm_python.lint(CHART, dict(values), strict=True, namespace=RELEASE, kube_version=f"v{version}")
        # 1 is information: the chart has no icon.
        messages += [message["error"] for message in report["messages"] if message["severity"] != 1]
        messages += list(report["errors"] or [])
    return messages


def schema_problems(found: dict[str, Any]) -> list[str]:
    """One line for each version of Kubernetes that would refuse an object. Unknown fields are refused too."""
    versions = () if found["kind"] in CUSTOM else KUBERNETES
    name = f"{found['kind']} {found['metadata']['name']}"
    refusals = ((version, _refusal(found, version=version)) for version in versions)
    return [f"{name}, Kubernetes {version}: {refusal}" for version, refusal in refusals if refusal is not None]


def _refusal(found: dict[str, Any], *, version: str) -> str | None:
    try:
        kubernetes_validate.validate(found, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(str(part) for part in error.path)}: {error.message}"
    return None


def checked(values: Values) -> dict[str, Any]:
    """``error``: why the values are refused, or None. ``files``, ``lint``, ``problems``: of accepted values."""
    try:
        files = rendered(values)
    except helm_python.HelmError as error:
        return {"error": str(error), "files": {}, "lint": [], "problems": []}
    objects = [found for text in files.values() for found in objects_of(text)]
    return {
        "error": None,
        "files": files,
        "lint": lint_messages(values),
        "problems": [problem for found in objects for problem in schema_problems(found)],
    }


def manifests() -> dict[str, str]:
    """Files of ``deploy/kubernetes/base`` that come from the chart."""
    values = yaml.safe_load((MANIFESTS / "values.yaml").read_text())
    return {name: HEADER + text for name, text in rendered(values).items()}


def main(command: str) -> int:
    """Returns the exit status."""
    if command == "manifests":
        for name, text in manifests().items():
            (MANIFESTS / name).write_text(text)
        return 0
    if command == "check":
        json.dump([checked(values) for values in json.load(sys.stdin)], sys.stdout)
        return 0
    print(f"expected manifests or check, got {command}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
