"""Evaluation of a posterior: its best member, its members on average, and the mean of their predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import torch

from service.engine.scheduling.mixture import mixture_logprobs
from service.engine.shapes import Tensor
from workers.evaluation.calibration import Predictions, disagreement, measures_of, reliability_bins
from workers.evaluation.losses import LossScorer, Target
from workers.inputs.examples import EncodedExample
from workers.inputs.limits import engine_limits
from workers.tuning.context import TuningContext

Tensors = Mapping[str, Tensor]

MAX_EVALUATED = 16
"""Members whose predictions are evaluated; of a larger posterior, evenly spaced ones."""


def evaluate_predictive(
    context: TuningContext, members: Sequence[Tensors], *, best: Tensors
) -> tuple[dict[str, float], bytes]:
    """Measures of the target tokens of each evaluated split, given the tokens before them.

    Returns:
        Metrics ``{split}/{who}_{measure}`` with the measures of :func:`measures_of`, where ``who`` is ``point`` (the best
        member), ``members`` (mean of the members' own measures) and ``predictive`` (the mean of their probabilities), and
        ``{split}/disagreement``. And the bins of the calibration of ``point`` and ``predictive`` by split, as JSON.
    """
    n = min(len(members), MAX_EVALUATED)
    chosen = [members[i * len(members) // n] for i in range(n)]
    labels = [f"member {i}" for i in range(n)]
    prompts = {label: context.prompt(tensors) for label, tensors in zip(labels, chosen, strict=True)}
    scorer = LossScorer(
        context.model,
        prompts={**prompts, "point": context.prompt(best)},
        limits=engine_limits(context.run.settings),
        check=context.run.check,
    )
    metrics: dict[str, float] = {}
    bins: dict[str, dict[str, list[dict[str, float]]]] = {}
    for split in context.spec.eval.splits:
        examples = [item.encoded for item in context.items(split)]
        if not examples:
            continue
        found = _predictions(scorer, examples, labels=labels)
        each = [measures_of(found[label]) for label in labels]
        measures = {
            "point": measures_of(found["point"]),
            "members": {name: sum(own[name] for own in each) / n for name in each[0]},
            "predictive": measures_of(found["predictive"]),
        }
        metrics |= {f"{split}/{who}_{name}": value for who, own in measures.items() for name, value in own.items()}
        metrics[f"{split}/disagreement"] = disagreement(torch.stack([found[label].predicted for label in labels]))
        bins[split] = {who: [asdict(each) for each in reliability_bins(found[who])] for who in ("point", "predictive")}
    return metrics, json.dumps(bins, indent=2, allow_nan=False).encode()


def _predictions(
    scorer: LossScorer, examples: Sequence[EncodedExample], *, labels: Sequence[str]
) -> dict[str, Predictions]:
    """Predictions of each member, of ``point`` and of ``predictive``."""
    parts: dict[str, list[Predictions]] = {label: [] for label in (*labels, "point", "predictive")}
    for example in examples:
        logits = scorer.logits([Target(label=label, encoded=example) for label in (*labels, "point")])
        target_ids = torch.tensor(example.target_ids, device=logits[0].device)
        for label, own in zip((*labels, "point"), logits, strict=True):
            parts[label].append(Predictions.of(own.log_softmax(-1), target_ids))
        stacked = torch.stack(logits[:-1])
        mixed = torch.stack([mixture_logprobs(stacked[:, i]) for i in range(stacked.shape[1])])
        parts["predictive"].append(Predictions.of(mixed, target_ids))
    return {label: Predictions.joined(found) for label, found in parts.items()}
