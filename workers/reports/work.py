"""The kind ``report``: the paper's seven findings, measured, judged by rules that are written out, and drawn."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from promptatlas.types.reports import ReportSpec

from service.engine.model import HostedModel
from service.errors import AtlasError
from workers.priors.prior import Space
from workers.priors.registry import build_prior
from workers.priors.sources import Sources
from workers.priors.streams import generator_for
from workers.reports.answer import Answer
from workers.reports.cloud_shape import finding_shape, measure_shapes
from workers.reports.collapse import finding_collapse, finding_stay, measure_collapse
from workers.reports.densities import with_densities
from workers.reports.evidence import Evidence, Floats, Tuned, prior_label
from workers.reports.figures import draw_figures
from workers.reports.gathering import PromptPast, plain
from workers.reports.localization import finding_walks, measure_walks
from workers.reports.numbers import Budget
from workers.reports.page import render
from workers.reports.quality import finding_interpolation, finding_quality
from workers.reports.reading import CloudReader
from workers.reports.tasks import finding_tasks, measure_separation
from workers.running.contract import RunContext

TITLE = "Where prompts and activations lie"
N_DRAWN = 100
"""Vectors drawn of each prior that is only looked at."""

N_PARTS = 6


def report(run: RunContext) -> Mapping[str, float]:
    """Leaves ``report.json``, ``report.html`` and ``spec.json``; the metrics count the verdicts.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact: the spec cannot be done, or no longer.
    """
    spec = ReportSpec.model_validate_json(json.dumps(dict(run.spec)))
    model = run.load_model(spec.model)
    evidence = _gather(run, spec, model)
    budget = Budget(samples=spec.samples, seed=spec.seed)
    collapse = measure_collapse(evidence)
    run.progress(3, N_PARTS)
    separation = measure_separation(evidence, budget=budget, check=run.check)
    run.progress(4, N_PARTS)
    walks = measure_walks(evidence, budget=budget, check=run.check)
    shapes = measure_shapes(evidence, budget=budget, check=run.check)
    run.progress(5, N_PARTS)
    answers = [
        finding_stay(evidence, collapse, budget=budget),
        finding_quality(evidence, collapse, budget=budget),
        finding_collapse(evidence, collapse, budget=budget),
        finding_walks(walks),
        finding_tasks(separation),
        finding_interpolation(evidence, budget=budget),
        finding_shape(shapes),
    ]
    found = _content(spec, model, answers, collapse=collapse, separation=separation, walks=walks, shapes=shapes)
    figures = draw_figures(evidence, separation=separation, walks=walks, shapes=shapes)
    run.save_output("report.json", json.dumps(found, indent=2, allow_nan=False).encode())
    run.save_output("report.html", render(found, figures=figures).encode())
    run.save_output("spec.json", json.dumps(dict(run.spec), indent=2).encode())
    run.progress(N_PARTS, N_PARTS)
    verdicts = [answer.verdict for answer in answers]
    return {f"n_{name.replace(' ', '_')}": float(verdicts.count(name)) for name in sorted(set(verdicts))}


def _gather(run: RunContext, spec: ReportSpec, model: HostedModel) -> Evidence:
    run.progress(0, N_PARTS)
    n_layers = model.anatomy.n_layers
    layers = list(range(n_layers)) if spec.layers == "all" else sorted({layer % n_layers for layer in spec.layers})
    past = PromptPast(run.artifacts, prompts=run.prompts)
    prompts = [past.tuned(ref, base=spec.model) for ref in spec.prompts]
    # A prompt's vectors are measured among the states of their own layer, whichever layers were asked for.
    read = sorted({*layers, *(layer for prompt in prompts for layer in prompt.vectors)})
    reader = CloudReader(model, datasets=run.datasets, check=run.check, seed=spec.seed)
    clouds = {dataset: reader.cloud(dataset, layers=read, n=spec.n) for dataset in spec.datasets}
    run.progress(1, N_PARTS)
    walks = [
        reader.walks(dataset, layers=layers, n=spec.n_trajectories, max_tokens=spec.max_tokens)
        for dataset in spec.datasets
    ]
    run.progress(2, N_PARTS)
    vocabulary, tokens = reader.vocabulary()
    sources = Sources(model, datasets=run.datasets, prompts=run.prompts, check=run.check)
    return Evidence(
        layers=layers,
        prompts=_measured_by_their_priors(run, prompts, sources),
        clouds=clouds,
        vocabulary=vocabulary,
        tokens=tokens,
        walks=walks,
        draws=_draws(spec, model, sources),
    )


def _measured_by_their_priors(run: RunContext, prompts: Sequence[Tuned], sources: Sources) -> list[Tuned]:
    found = []
    for prompt in prompts:
        run.check()
        try:
            found.append(with_densities(prompt, prior=run.prompts.resolve(prompt.ref).prior, sources=sources))
        except AtlasError as error:
            # A dataset or prompt that the prior was fitted to may be gone; all else can still be said.
            run.log(f"{prompt.ref} has no density under its prior: {error.detail}", level="warning")
            found.append(prompt)
    return found


def _draws(spec: ReportSpec, model: HostedModel, sources: Sources) -> dict[str, Floats]:
    space = Space(d_model=model.d_model, n_virtual=N_DRAWN)
    draws: dict[str, Floats] = {}
    for index, prior in enumerate(spec.priors):
        label = prior_label(prior.model_dump(mode="json", by_alias=True))
        name = label if label not in draws else f"{label} #{index}"
        fitted = build_prior(prior, space=space, sources=sources)
        vectors = fitted.sample(N_DRAWN, generator=generator_for(spec.seed, "soft"))
        draws[name] = np.asarray(vectors.numpy(), dtype=np.float32)
    return draws


def _content(
    spec: ReportSpec,
    model: HostedModel,
    answers: Sequence[Answer],
    *,
    collapse: Mapping[str, Any],
    separation: Sequence[Mapping[str, Any]],
    walks: Sequence[Mapping[str, Any]],
    shapes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    packages = ("torch", "transformers", "scikit-learn", "scipy", "numpy", "promptatlas")
    content: dict[str, Any] = plain(
        {
            "title": spec.title or TITLE,
            "model": model.card.name,
            "revision": model.card.revision,
            "findings": [vars(answer) for answer in answers],
            "collapse": collapse,
            "separation": list(separation),
            "trajectories": list(walks),
            "shape": list(shapes),
            "spec": spec.model_dump(mode="json", by_alias=True),
            "versions": {name: importlib.metadata.version(name) for name in packages},
        }
    )
    return content
