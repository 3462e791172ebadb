"""Measurements at the start of a study: the time of a token in a training step, and the lengths of the datasets' records."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

from promptatlas import Client
from promptatlas.types import ModelCard

from demo.study.budget import Lengths
from demo.study.plan import MapJob, Size, StudyPlan, Tuning, soft_method, tuning
from demo.study.priors import ISOTROPIC

N_MEMBERS: Final = 6
SHORT, LONG = 2, 20
"""Steps of the two runs. They differ in nothing else, so the difference of their durations is that of the steps."""

N_SAMPLED: Final = 48
"""Records per dataset whose tokens are counted."""

READING_S: Final = 8.0
"""Of the report, per dataset: its texts and generations through all layers."""

PAIR_S: Final = 1.2
"""Of the report, per pair of datasets and layer: distances, permutations, clusters and probes."""

CLOUD_S: Final = 4.0
"""Of the report, per dataset and layer: random walks, mixtures and dip tests."""

PROMPT_S: Final = 2.5
"""Of the report, per prompt: its distances to all tokens."""

FITS_S: Final = 180.0
"""Of the report: fitting all priors again, for the densities of the prompts."""

MAP_S: Final[Mapping[str, float]] = {"pca": 80.0, "tsne": 450.0}
"""Of a map by its method, with the vocabulary at layer 0 and about 20,000 tokens at each of four layers."""

REASONS_S: Final = 150.0


def calibrations(plan: StudyPlan, *, size: Size, dataset: str) -> tuple[Tuning, Tuning]:
    """A short and a longer run with the members, the batch and the vectors of the study."""
    seeds = tuple(range(N_MEMBERS))
    method = soft_method(size)
    found = []
    for steps in (SHORT, LONG):
        name = f"calibration-{steps}"
        made = tuning(
            name, model=plan.model, dataset=dataset, method=method, priors=(ISOTROPIC,), lr=5e-3, size=size, seeds=seeds
        )
        optimizer = {**made.spec["optimizer"], "steps": steps}
        evaluation = {"every": LONG, "metrics": ["loss"], "splits": ["test"], "n": 2}
        found.append(Tuning(name=name, spec={**made.spec, "optimizer": optimizer, "eval": evaluation}, in_report=False))
    return found[0], found[1]


def seconds_per_step(short_s: float, long_s: float) -> float:
    """Time of a step, given the durations of the two runs. If the steps are shorter than the noise, an upper bound."""
    difference = long_s - short_s
    return difference / (LONG - SHORT) if difference > 0 else long_s / LONG


def token_s(step_s: float, *, one: Tuning, lengths: Lengths) -> float:
    """Seconds per text token of one member, given the time of a step of all members."""
    n_tokens = one.spec["optimizer"]["batch_size"] * lengths.total + one.spec["method"]["n_virtual"]
    return step_s / float(one.n_members * n_tokens)


def lengths_of(client: Client, *, model: str, dataset: str) -> Lengths:
    """Mean lengths of a dataset's first training records."""
    items = client.datasets.peek(dataset, split="train", limit=N_SAMPLED).data
    inputs = [item.text if item.text is not None else item.input or "" for item in items]
    targets = [item.target or "" for item in items]

    def mean(texts: Sequence[str]) -> float:
        return fmean(client.models.tokenize(model, prompt=text).count if text else 0 for text in texts)

    # One more token of the target: end of text.
    return Lengths(input=mean(inputs), target=mean(targets) + 1)


def fixed_s(plan: StudyPlan, *, card: ModelCard, n_prompts: int, maps: Sequence[MapJob]) -> float:
    """Predicted seconds of the report, the maps and the reasons, which do not depend on the number of steps."""
    layers, n = plan.report_layers(card), len(plan.datasets)
    n_layers = card.n_layers if layers is None else len(layers)
    report = n * READING_S + n_layers * (PAIR_S * n * (n - 1) / 2 + CLOUD_S * n) + PROMPT_S * n_prompts + FITS_S
    return report + sum(MAP_S[job.spec["method"]] for job in maps) + (REASONS_S if plan.with_reasons else 0.0)
