"""What a tuning run is to do: one dataset, one method, several priors × seeds side by side in one fused run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promptatlas import Client, Run

Spec = Mapping[str, Any]
"""A part of a run's spec, as `promptatlas.types.TuneSpec` has it."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run before it is started.

    Attributes:
        title: for people.
        name: of the prompts that come of it; each member's prior and seed are added to it.
        priors: specs by the label that tables have.
        metric: what counts as success, higher is better; the loss is measured beside it.
        eval: without its metrics.
    """

    title: str
    name: str
    dataset: str
    method: Spec
    priors: Mapping[str, Spec]
    seeds: tuple[int, ...]
    optimizer: Spec
    eval: Spec
    metric: str = "exact_match"

    def start(self, client: Client, *, model: str) -> Run:
        """Put it into the queue."""
        return client.runs.tune(
            model=model,
            dataset=self.dataset,
            run_name=self.title,
            name=self.name,
            method=self.method,
            priors=list(self.priors.values()),
            seeds=list(self.seeds),
            optimizer=self.optimizer,
            eval={**self.eval, "metrics": [self.metric, "loss"], "splits": ["test"]},
        )

    def label(self, number: int) -> str:
        """Label of a member's prior. number: of the member in the run's order, priors outermost."""
        labels = list(self.priors)
        return labels[number // (self.n_members // len(labels))]

    @property
    def n_members(self) -> int:
        """How many prompts come of it."""
        rates = self.optimizer.get("lr")
        return len(self.priors) * len(self.seeds) * (len(rates) if isinstance(rates, list) else 1)


def fitted_to(dataset: str, *, n_texts: int, scale: float = 1.0) -> Spec:
    """A Gaussian fitted to what stands where the vectors will go, in the first texts of a dataset.

    scale: of its covariance; 25 is five times as far from the mean in every direction.
    """
    source = {"activations": {"dataset": dataset, "n": n_texts}}
    return {"kind": "gaussian", "fit": source, **({} if scale == 1.0 else {"scale": scale})}
