"""Context of one attempt at a tuning run: its spec, and the model, dataset and members that the spec names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from promptatlas.types.datasets import Split
from promptatlas.types.forms import Where
from promptatlas.types.posteriors import SvgdPosterior
from promptatlas.types.tuning import TuneSpec

from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Kind, Prompt
from service.engine.shapes import Tensor
from service.hosting.processes.memory import memory_share
from service.store.datasets.items import DatasetInfo
from workers.evaluation.answer_sampling import measures_of_sampling
from workers.evaluation.evaluator import Evaluator, RowEvaluator
from workers.inputs.examples import EncodedExample, EvalExample, encode, read_eval_examples
from workers.inputs.limits import engine_limits
from workers.priors.sources.sources import Sources
from workers.running.interface import RunContext
from workers.tuning.initialization import RunMember, run_members
from workers.tuning.training.criterion import Criterion, Curriculum, Sampler
from workers.tuning.training.memory import forward_bytes

EVAL_SEED = 0
"""Seed of the choice of evaluation examples. All runs on a dataset use the same examples; the seeds of a spec have no effect."""


@dataclass(frozen=True, kw_only=True)
class TuningContext:
    """The spec of a run, its model and its dataset, shared by all parts of the run."""

    run: RunContext
    spec: TuneSpec
    model: HostedModel
    dataset: DatasetInfo
    _items: dict[Split, list[EvalExample]] = field(default_factory=dict)

    @classmethod
    def of(cls, run: RunContext) -> TuningContext:
        """Load the model and the dataset that the run's spec names."""
        spec = read_spec(run.spec)
        return cls(run=run, spec=spec, model=run.load_model(spec.model), dataset=run.datasets.get(spec.dataset))

    @cached_property
    def members(self) -> list[RunMember]:
        return run_members(self.spec, run_id=self.run.run_id)

    @cached_property
    def sources(self) -> Sources:
        return Sources(self.model, datasets=self.run.datasets, prompts=self.run.prompts, check=self.run.check)

    @cached_property
    def forward_bytes(self) -> int:
        """Memory limit of one training forward of this process."""
        return forward_bytes(self.model, share=memory_share(self.run.settings))

    @property
    def kind(self) -> Kind:
        return self.spec.method.kind

    @property
    def where(self) -> Where | None:
        return self.spec.method.chosen_where

    def prompt(self, tensors: Mapping[str, Tensor]) -> Prompt:
        """A prompt of the run's kind from tensors in the native format."""
        return Prompt(self.kind, dict(tensors), self.where)

    def training_examples(self) -> list[EncodedExample]:
        """Training examples that fit the model's context, in file order. The number of omitted examples is logged."""
        examples = self.run.datasets.examples(self.spec.dataset, split="train", template=self.spec.template)
        max_tokens = self.model.n_positions - self.spec.method.n_positions
        encoded, n_dropped = encode(self.model, examples, max_tokens=max_tokens)
        if n_dropped:
            self.warn(
                f"{n_dropped} of {n_dropped + len(encoded)} train examples are left out because they are too long or empty."
            )
        return encoded

    def validation_examples(self) -> list[EncodedExample]:
        """Examples of validation losses; empty if there is no validation split."""
        return [item.encoded for item in self.items("validation")]

    def criterion(self) -> Criterion | None:
        """The loss of each answer token; None: cross-entropy."""
        return None

    def curriculum(self) -> Curriculum | None:
        """Changes of the training examples, if they change."""
        return None

    def sampler(self) -> Sampler | None:
        """Samples targets from the members, if some are sampled."""
        return None

    @property
    def has_independent_members(self) -> bool:
        """Whether no member's training depends on another's, so that workers can share the members."""
        return not isinstance(self.spec.posterior, SvgdPosterior)

    @property
    def metrics(self) -> Sequence[str]:
        """Names of the metrics of the evaluation."""
        return (*self.spec.eval.metrics, *measures_of_sampling(self.spec.eval.sampling))

    def evaluator(self, prompts: Mapping[str, Prompt | None]) -> RowEvaluator:
        """Evaluator of prompts, by label, on the items of a split."""
        return Evaluator(
            self.model,
            prompts=prompts,
            metrics=self.spec.eval.metrics,
            limits=engine_limits(self.run.settings),
            max_tokens=self.spec.eval.max_tokens,
            check=self.run.check,
            sampling=self.spec.eval.sampling,
            seed=EVAL_SEED,
        )

    @property
    def texts(self) -> DatasetInfo:
        """The dataset of the training and validation examples."""
        return self.dataset

    @property
    def data_sha256(self) -> str:
        """Hash of the data that the run reads; a resumed attempt must find the same."""
        return self.dataset.sha256

    def items(self, split: Split) -> list[EvalExample]:
        """The evaluation examples of a split; empty if the dataset has no such split."""
        if split not in self._items:
            self._items[split] = self._read(split) if self.dataset.splits.get(split, 0) else []
        return self._items[split]

    def other_items(self) -> list[EvalExample]:
        """Examples on which only the loss is measured, after those of the evaluated splits."""
        return []

    def warn(self, text: str) -> None:
        """OnPoint the run's owner something that should be looked at."""
        self.run.log(text, level="warning")

    def _read(self, split: Split) -> list[EvalExample]:
        return read_eval_examples(
            self.run.datasets,
            self.spec.dataset,
            model=self.model,
            split=split,
            n=self.spec.eval.n,
            seed=EVAL_SEED,
            template=self.spec.template,
            n_virtual=self.spec.method.n_positions,
            log=self.warn,
        )


def read_spec(stored: Mapping[str, Any]) -> TuneSpec:
    """Parse the stored spec of a run."""
    # Validation from JSON accepts lists for tuples; strict validation of Python objects does not.
    return TuneSpec.model_validate_json(json.dumps(dict(stored)))
