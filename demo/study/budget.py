"""The time of a study: a cost model of its runs, and the largest size that fits into a time limit.

The unit of the model is the time of one text token in a training step, forward and backward through all layers. A study
measures it at its start (``demo.study.calibration``); the other costs are multiples that were measured once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from promptatlas.types import ModelCard

from demo.study.plan import Size, StudyPlan, Tuning
from demo.study.priors import Spec

FORWARD: Final = 0.45
"""A text token in a forward without gradients, in units of a token in a training step (SmolLM2: 0.44 to 0.49)."""

DECODE: Final = 1.7
"""A generated token: smaller matrices, and a step per token."""

TOP: Final = 1.2
"""A token in the layers from the lowest tuned one, over their share of all layers: the head and the loss are added."""

BELOW: Final = 1.3
"""A token in the layers below, once for all members. Examples run alone there, for equal states with and without the cache."""

STEPS: Final = (40, 400)
"""The smallest and the largest number of steps of a sized study. With fewer, no loss has converged."""

N_POINTS: Final = 12
"""Validation losses during a training."""

OVERHEAD_S: Final = 20.0
"""Of a run: loading the model, fitting the priors, storing the prompts."""

VAE_S: Final = 1.5
"""Seconds per epoch of an autoencoder and layer."""


class NotEnoughTime(ValueError):
    """Even the smallest study takes longer than the limit."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Mean numbers of tokens of a dataset's records."""

    input: float
    target: float

    @property
    def total(self) -> float:
        return self.input + self.target


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Predicts the time of runs.

    token_s: of one token in a training step. lengths: by dataset. fixed_s: of the report, the maps and everything else that
    does not depend on the number of steps.
    """

    token_s: float
    lengths: Mapping[str, Lengths]
    n_layers: int
    n_validation: int
    fixed_s: float = 0.0

    def of(self, one: Tuning) -> float:
        """Seconds of a tuning run."""
        spec, lengths = one.spec, self.lengths[one.spec["dataset"]]
        steps, every = spec["optimizer"]["steps"], spec["eval"]["every"]
        n_virtual = spec["method"]["n_virtual"]
        share = self._share(spec["method"])
        rows = spec["optimizer"]["batch_size"]
        per_step = share * (rows * lengths.total + n_virtual)
        per_validation = FORWARD * share * min(self.n_validation, spec["eval"]["n"]) * lengths.total
        training = one.n_members * (steps * per_step + (steps / every + 1) * per_validation)
        below = 0.0 if share == 1.0 else BELOW * steps * rows * lengths.total
        n_evaluated = one.n_members + one.n_draws + 1
        # The loss of the whole text, then the input and each generated token; the vectors are compiled once.
        per_example = FORWARD * (lengths.total + lengths.input) + DECODE * lengths.target
        evaluation = n_evaluated * spec["eval"]["n"] * per_example
        return float(OVERHEAD_S + self._fits(spec) + self.token_s * (training + below + evaluation))

    def total(self, tunings: Sequence[Tuning]) -> float:
        """Seconds of a study with these runs."""
        return self.fixed_s + sum(map(self.of, tunings))

    def _share(self, method: Spec) -> float:
        if method["kind"] != "deep":
            return 1.0
        lowest = min(layer % self.n_layers for layer in method["layers"])
        return 1.0 if lowest == 0 else min(1.0, TOP * (1 - lowest / self.n_layers))

    def _fits(self, spec: Spec) -> float:
        n_places = len(spec["method"].get("layers", (0,)))
        return VAE_S * n_places * float(sum(prior.get("epochs", 0) for prior in spec["priors"]))


def all_tunings(plan: StudyPlan, *, size: Size, card: ModelCard, rates: Mapping[str, float]) -> list[Tuning]:
    """The runs of all pilots, then all others."""
    pilots = [one for pilot in plan.pilots(size, card) for one in pilot.tunings]
    return [*pilots, *plan.tunings(size, rates, card)]


def sized(plan: StudyPlan, *, costs: CostModel, card: ModelCard, rates: Mapping[str, float], minutes: float) -> Size:
    """The size with the most steps that fits into the limit, with fewer seeds only if the smallest number of steps does not fit.

    Raises:
        NotEnoughTime: with the minutes that the smallest study takes.
    """
    for n_seeds in range(len(plan.full.seeds), 0, -1):
        for steps in range(STEPS[1], STEPS[0] - 1, -10):
            size = with_steps(replace(plan.full, seeds=plan.full.seeds[:n_seeds]), steps=steps)
            if costs.total(all_tunings(plan, size=size, card=card, rates=rates)) <= 60 * minutes:
                return size
    smallest = costs.total(all_tunings(plan, size=size, card=card, rates=rates)) / 60
    raise NotEnoughTime(
        f"expected at least {smallest:.0f} minutes, the predicted time of the smallest study ({STEPS[0]} steps, one seed), "
        f"got {minutes:g}"
    )


def with_steps(size: Size, *, steps: int) -> Size:
    """The size with another number of steps, and validation losses at ``N_POINTS`` of them, or half as many if it is brief."""
    n_points = N_POINTS // 2 if size.is_brief else N_POINTS
    return replace(size, steps=steps, every=max(1, round(steps / n_points)))
