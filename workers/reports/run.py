"""The kind ``report``: the paper's seven findings, measured, judged by rules that are written out, and drawn."""

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
from workers.reports.evidence.measurement_cache import MeasurementCache, Rows
from workers.reports.evidence.prompt_history import plain
from workers.reports.findings.answer import Answer
from workers.reports.findings.cloud_shape import finding_shape, measure_shapes
from workers.reports.findings.collapse import finding_collapse
from workers.reports.findings.displacement import finding_stay
from workers.reports.findings.localization import finding_walks, measure_walks
from workers.reports.findings.quality import finding_interpolation, finding_quality
from workers.reports.findings.statistics import Budget
from workers.reports.findings.task_clusters import finding_tasks, measure_separation
from workers.reports.rendering.figures import draw_figures
from workers.reports.rendering.page import render
from workers.running.interface import RunContext

TITLE = "Where prompts and activations lie"


def report(run: RunContext) -> Mapping[str, float]:
    """Leaves ``report.json``, ``report.html`` and ``spec.json``; the metrics count the verdicts.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact: the spec cannot be done, or no longer.
    """
    spec = ReportSpec.model_validate_json(json.dumps(dict(run.spec)))
    model = run.load_model(spec.model)
    n_read = n_readings(spec)
    n_measured = _n_measurements(spec, n_layers=len(layers_of(spec, n_layers=model.architecture.n_layers)))
    # One more for all that comes after the measuring.
    total = n_read + n_measured + 1
    evidence = assemble(run, spec, model, done=_Readings(run, total=total).done)
    once = MeasurementCache(run, evidence_of=_evidence_of(run, spec, model), begin=n_read, total=total).once
    budget = Budget(samples=spec.samples, seed=spec.seed)
    measured = _Measured(
        separation=measure_separation(evidence, budget=budget, once=once),
        walks=measure_walks(evidence, budget=budget, once=once),
        shapes=measure_shapes(evidence, budget=budget, once=once),
        collapse=measure_collapse(evidence, check=run.check),
    )
    answers = _answers(evidence, measured, budget=budget)
    found = _content(spec, model, answers, measured=measured)
    figures = draw_figures(evidence, separation=measured.separation, walks=measured.walks, shapes=measured.shapes)
    run.save_output("report.json", json.dumps(found, indent=2, allow_nan=False).encode())
    run.save_output("report.html", render(found, figures=figures).encode())
    run.save_output("spec.json", json.dumps(dict(run.spec), indent=2).encode())
    run.progress(total, total)
    verdicts = [answer.verdict for answer in answers]
    return {f"n_{name.replace(' ', '_')}": float(verdicts.count(name)) for name in sorted(set(verdicts))}


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Tables that findings are read from; each is a part of ``report.json`` too."""

    separation: Rows
    walks: Rows
    shapes: Rows
    collapse: Mapping[str, Mapping[str, Any]]


def _answers(evidence: Evidence, measured: _Measured, *, budget: Budget) -> list[Answer]:
    return [
        finding_stay(evidence, measured.collapse, budget=budget),
        finding_quality(evidence, measured.collapse, budget=budget),
        finding_collapse(evidence, measured.collapse, budget=budget),
        finding_walks(measured.walks),
        finding_tasks(evidence, measured.separation),
        finding_interpolation(evidence, budget=budget),
        finding_shape(evidence, measured.shapes),
    ]


class _Readings:
    """Counts what has been read into the run's progress."""

    def __init__(self, run: RunContext, *, total: int) -> None:
        self._run, self._total, self._n = run, total, 0
        run.progress(0, total)

    def done(self) -> None:
        self._n += 1
        self._run.progress(self._n, self._total)


def _evidence_of(run: RunContext, spec: ReportSpec, model: HostedModel) -> dict[str, Any]:
    """What tells whether measurements of an earlier attempt are of the same evidence."""
    datasets = {name: run.datasets.get(name).sha256 for name in spec.datasets}
    return {"revision": model.card.revision, "datasets": datasets}


def _n_measurements(spec: ReportSpec, *, n_layers: int) -> int:
    n = len(spec.datasets)
    pairs, walks, shapes = n * (n - 1) // 2 * n_layers, n * (n_layers + 1), n * n_layers
    return pairs + walks + shapes


def _content(spec: ReportSpec, model: HostedModel, answers: Sequence[Answer], *, measured: _Measured) -> dict[str, Any]:
    packages = ("torch", "transformers", "scikit-learn", "scipy", "numpy", "promptatlas")
    content: dict[str, Any] = plain(
        {
            "title": spec.title or TITLE,
            "model": model.card.name,
            "revision": model.card.revision,
            "findings": [vars(answer) for answer in answers],
            "collapse": measured.collapse,
            "separation": measured.separation,
            "trajectories": measured.walks,
            "shape": measured.shapes,
            "spec": spec.model_dump(mode="json", by_alias=True),
            "versions": {name: importlib.metadata.version(name) for name in packages},
        }
    )
    return content
