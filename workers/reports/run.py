"""Run kind ``report``: tests the findings of arXiv 2412.18582 on a model and writes them as JSON and HTML."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptatlas.types.reports import ReportSpec

from service.engine.model.hosted_model import HostedModel
from workers.reports.evidence.assembly import assemble, layers_of, n_readings
from workers.reports.evidence.collapse_measures import measure_collapse
from workers.reports.evidence.evidence import Evidence
from workers.reports.evidence.measurement_cache import MeasurementCache, Rows, plain
from workers.reports.findings.cloud_shape import finding_shape, measure_shapes
from workers.reports.findings.collapse import finding_collapse
from workers.reports.findings.displacement import finding_displacement
from workers.reports.findings.localization import finding_localization, measure_trajectories
from workers.reports.findings.quality import finding_interpolation, finding_quality
from workers.reports.findings.result import FindingResult
from workers.reports.findings.statistics import Resampling
from workers.reports.findings.task_clusters import finding_tasks, measure_separation
from workers.reports.rendering.figures import draw_figures
from workers.reports.rendering.labels import labels
from workers.reports.rendering.page import render
from workers.running.interface import RunContext

TITLE = "Where prompts and activations lie"


def report(run: RunContext) -> Mapping[str, float]:
    """Write ``report.json``, ``report.html`` and ``spec.json``.

    Returns:
        The number of findings by verdict, ``n_{verdict}``.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact: Something that the spec names is invalid, missing or damaged.
    """
    spec = ReportSpec.model_validate_json(json.dumps(dict(run.spec)))
    model = run.load_model(spec.model)
    n_read = n_readings(spec)
    n_measured = _n_measurements(spec, n_layers=len(layers_of(spec, n_layers=model.architecture.n_layers)))
    # One more step for writing the report.
    total = n_read + n_measured + 1
    evidence = assemble(run, spec, model, done=_ReadingProgress(run, total=total).done)
    cached = MeasurementCache(run, evidence_of=_evidence_of(run, spec, model), begin=n_read, total=total).cached
    resampling = Resampling(samples=spec.samples, seed=spec.seed)
    measured = _Measured(
        separation=measure_separation(evidence, resampling=resampling, cached=cached),
        trajectories=measure_trajectories(evidence, resampling=resampling, cached=cached),
        shapes=measure_shapes(evidence, resampling=resampling, cached=cached),
        collapse=measure_collapse(evidence, check=run.check),
    )
    findings = _findings(evidence, measured, resampling=resampling)
    found = _content(spec, model, findings, measured=measured)
    figures = draw_figures(
        evidence, separation=measured.separation, trajectories=measured.trajectories, shapes=measured.shapes
    )
    run.save_output("report.json", json.dumps(found, indent=2, allow_nan=False).encode())
    run.save_output("report.html", render(found, figures=figures).encode())
    run.save_output("spec.json", json.dumps(dict(run.spec), indent=2).encode())
    run.progress(total, total)
    verdicts = [finding.verdict for finding in findings]
    return {f"n_{name.replace(' ', '_')}": float(verdicts.count(name)) for name in sorted(set(verdicts))}


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Tables of measurements; each is also a part of ``report.json``."""

    separation: Rows
    trajectories: Rows
    shapes: Rows
    collapse: Mapping[str, Mapping[str, Any]]


def _findings(evidence: Evidence, measured: _Measured, *, resampling: Resampling) -> list[FindingResult]:
    return [
        finding_displacement(evidence, measured.collapse, resampling=resampling),
        finding_quality(evidence, measured.collapse, resampling=resampling),
        finding_collapse(evidence, measured.collapse, resampling=resampling),
        finding_localization(measured.trajectories),
        finding_tasks(evidence, measured.separation),
        finding_interpolation(evidence, resampling=resampling),
        finding_shape(evidence, measured.shapes),
    ]


class _ReadingProgress:
    """Reports progress of reading the evidence."""

    def __init__(self, run: RunContext, *, total: int) -> None:
        self._run, self._total, self._n = run, total, 0
        run.progress(0, total)

    def done(self) -> None:
        self._n += 1
        self._run.progress(self._n, self._total)


def _evidence_of(run: RunContext, spec: ReportSpec, model: HostedModel) -> dict[str, Any]:
    """Versions of model and datasets, which tell whether cached measurements are valid."""
    datasets = {name: run.datasets.get(name).sha256 for name in spec.datasets}
    return {"revision": model.card.revision, "datasets": datasets}


def _n_measurements(spec: ReportSpec, *, n_layers: int) -> int:
    n = len(spec.datasets)
    n_pairs, n_trajectories, n_shapes = n * (n - 1) // 2 * n_layers, n * (n_layers + 1), n * n_layers
    return n_pairs + n_trajectories + n_shapes


def _content(
    spec: ReportSpec, model: HostedModel, findings: Sequence[FindingResult], *, measured: _Measured
) -> dict[str, Any]:
    packages = ("torch", "transformers", "scikit-learn", "scipy", "numpy", "promptatlas")
    content: dict[str, Any] = plain(
        {
            "title": spec.title or TITLE,
            "model": model.card.name,
            "revision": model.card.revision,
            "findings": [vars(finding) for finding in findings],
            "collapse": measured.collapse,
            "separation": measured.separation,
            "trajectories": measured.trajectories,
            "shape": measured.shapes,
            "spec": spec.model_dump(mode="json", by_alias=True),
            "labels": labels(),
            "versions": {name: importlib.metadata.version(name) for name in packages},
        }
    )
    return content
