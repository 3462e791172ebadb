"""Assembly of a report's evidence from the stores and the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from promptatlas.types.reports import ReportSpec

from service.engine.model.hosted_model import HostedModel
from service.errors import AtlasError
from service.planning.kinds.report import N_DRAWN
from workers.priors.distributions.random_streams import generator_for
from workers.priors.kinds.registry import build_prior
from workers.priors.prior import Space
from workers.priors.sources.sources import Sources
from workers.reports.evidence.cloud_reader import CloudReader
from workers.reports.evidence.densities import Densities
from workers.reports.evidence.evidence import Evidence, Floats, TunedPrompt, prior_label
from workers.reports.evidence.prompt_history import PromptHistory
from workers.running.interface import RunContext


def layers_of(spec: ReportSpec, *, n_layers: int) -> list[int]:
    """Layers of the report, in order."""
    return list(range(n_layers)) if spec.layers == "all" else sorted({layer % n_layers for layer in spec.layers})


def n_readings(spec: ReportSpec) -> int:
    """Number of calls of ``done`` by ``assemble``."""
    return 2 * len(spec.datasets) + len(spec.prompts) + len(spec.priors)


def assemble(run: RunContext, spec: ReportSpec, model: HostedModel, *, done: Callable[[], None]) -> Evidence:
    """Read all evidence. done: called after each of ``n_readings`` parts.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact: Something that the spec names cannot be read.
    """
    layers = layers_of(spec, n_layers=model.architecture.n_layers)
    history = PromptHistory(run.artifacts, prompts=run.prompts)
    prompts = [history.tuned(ref, base=spec.model) for ref in spec.prompts]
    # Vectors of a prompt are compared with states of their own layer, even if the spec does not request it.
    read_layers = sorted({*layers, *(layer for prompt in prompts for layer in prompt.vectors)})
    reader = CloudReader(model, datasets=run.datasets, check=run.check, seed=spec.seed)
    clouds, trajectories = {}, []
    for dataset in spec.datasets:
        clouds[dataset] = reader.cloud(dataset, layers=read_layers, n=spec.n)
        done()
        trajectories.append(
            reader.trajectories(dataset, layers=layers, n=spec.n_trajectories, max_tokens=spec.max_tokens)
        )
        done()
    vocabulary, tokens = reader.vocabulary()
    sources = Sources(model, datasets=run.datasets, prompts=run.prompts, check=run.check)
    return Evidence(
        layers=layers,
        prompts=_with_densities(run, prompts, sources, done=done),
        clouds=clouds,
        vocabulary=vocabulary,
        tokens=tokens,
        trajectories=trajectories,
        draws=_draws(spec, model, sources, done=done),
        text_statistics={dataset: reader.text_statistics(dataset, n=spec.n) for dataset in spec.datasets},
    )


def _with_densities(
    run: RunContext, prompts: Sequence[TunedPrompt], sources: Sources, *, done: Callable[[], None]
) -> list[TunedPrompt]:
    densities = Densities(sources)
    found = []
    for prompt in prompts:
        run.check()
        try:
            found.append(densities.of(prompt, prior=run.prompts.resolve(prompt.ref).prior))
        except AtlasError as error:
            # The dataset or prompt that the prior was fitted to may have been deleted.
            run.log(f"{prompt.ref} has no density under its prior: {error.detail}", level="warning")
            found.append(prompt)
        done()
    return found


def _draws(spec: ReportSpec, model: HostedModel, sources: Sources, *, done: Callable[[], None]) -> dict[str, Floats]:
    space = Space(d_model=model.d_model, n_virtual=N_DRAWN)
    draws: dict[str, Floats] = {}
    for index, prior in enumerate(spec.priors):
        label = prior_label(prior.model_dump(mode="json", by_alias=True))
        name = label if label not in draws else f"{label} #{index}"
        fitted = build_prior(prior, space=space, sources=sources)
        vectors = fitted.sample(N_DRAWN, generator=generator_for(spec.seed, "soft"))
        draws[name] = np.asarray(vectors.numpy(), dtype=np.float32)
        done()
    return draws
