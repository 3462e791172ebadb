"""The definition of a tuning run: one dataset, one method, several priors × seeds in one fused run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promptatlas import Client, Run

from demo.tour.formats import Format

Spec = Mapping[str, Any]
"""A part of a run's spec, in the format of `promptatlas.types.TuneSpec`."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run before it is started.

    Attributes:
        title: the run's display name.
        name: prefix of the prompts' names; the prior and seed of each member are appended.
        priors: specs by their label in tables.
        metric: the metric of success, higher is better; the loss is measured as well.
        also: further metrics in the tables.
        format: the right format of an answer; None: not measured.
        eval: evaluation options without the metrics.
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
    also: tuple[str, ...] = ()
    format: Format | None = None

    def start(self, client: Client, *, model: str) -> Run:
        """Queue the run."""
        return client.runs.tune(
            model=model,
            dataset=self.dataset,
            run_name=self.title,
            name=self.name,
            method=self.method,
            priors=list(self.priors.values()),
            seeds=list(self.seeds),
            optimizer=self.optimizer,
            eval={**self.eval, "metrics": list(self.metrics), "splits": ["test"]},
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that the run measures."""
        return (self.metric, *self.also, "loss")

    def label(self, number: int) -> str:
        """Label of a member's prior. number: index of the member in the run; priors are the outermost loop."""
        labels = list(self.priors)
        return labels[number // (self.n_members // len(labels))]

    @property
    def n_members(self) -> int:
        """Number of prompts that the run trains."""
        rates = self.optimizer.get("lr")
        return len(self.priors) * len(self.seeds) * (len(rates) if isinstance(rates, list) else 1)


def fitted_to(dataset: str, *, n_texts: int, scale: float = 1.0) -> Spec:
    """A Gaussian fitted to the states at the layer of the vectors, over the first texts of a dataset.

    scale: factor of its covariance; 25 is five times the standard deviation in every direction.
    """
    source = {"activations": {"dataset": dataset, "n": n_texts}}
    return {"kind": "gaussian", "fit": source, **({} if scale == 1.0 else {"scale": scale})}
