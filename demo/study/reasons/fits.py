"""How well a normal distribution in all dimensions of the model is fitted from few tokens, measured on tokens of other texts."""

from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt
import torch
from promptatlas import Client
from promptatlas.types import ModelCard
from promptatlas.types.priors import Shrinkage

from demo.study.plan import Size, StudyPlan
from demo.study.reasons.states import read_states, texts_of, tokens_at
from workers.priors.distributions.moments import measure
from workers.priors.distributions.normal import fit_normal

Array = npt.NDArray[np.float32]

N_TOKENS: Final = (128, 256, 512, 1024, 2048, 4096, 8192)
KINDS: Final[tuple[Shrinkage, ...]] = get_args(Shrinkage)
MAX_TEXTS: Final = 120
SEED: Final = 0


def measure_fits(client: Client, *, plan: StudyPlan, card: ModelCard, size: Size) -> list[dict[str, Any]]:
    """For each layer, number of tokens and shrinkage: the mean log-density of held-out tokens, in nats per dimension.

    Read are the running text's training split for the fit, and its test split; at the embeddings and at the last layer, where
    the priors of soft and deep prompts are fitted.
    """
    dataset = text_dataset(plan)
    layers = [0, card.n_layers - 1]
    n = min(MAX_TEXTS, 4 * size.n_report)
    train, test = (
        read_states(client, model=plan.model, texts=texts_of(client, dataset=dataset, split=split, n=n), layers=layers)
        for split in ("train", "test")
    )
    rows: list[dict[str, Any]] = []
    for layer in layers:
        fitted, held_out = tokens_at(train, layer=layer), tokens_at(test, layer=layer)
        rows += [{"layer": layer, **row} for row in fits(fitted, held_out=held_out)]
    return rows


def text_dataset(plan: StudyPlan) -> str:
    """The plan's dataset of running text, which its priors are fitted to."""
    return next(name for name in plan.datasets if name in ("wikitext-2", "demo-text"))


def fits(points: Array, *, held_out: Array) -> list[dict[str, Any]]:
    """Fits to random samples of the points. ``log_density`` is None for a singular fit, which has no density."""
    shuffled = np.random.default_rng(SEED).permutation(points)
    test = torch.from_numpy(np.array(held_out, dtype=np.float32))
    rows = []
    for n in [n for n in N_TOKENS if n <= len(points)] or [len(points)]:
        moments = measure(torch.from_numpy(np.array(shuffled[:n], dtype=np.float32)))
        for shrinkage in KINDS:
            normal, facts = fit_normal(moments, shrinkage=shrinkage)
            value = None
            if normal.is_regular:
                value = float(normal.log_density(normal.squared_distance(test.double())).mean() / test.shape[1])
            rows.append({"n": n, "shrinkage": shrinkage, "method": facts["shrinkage_method"], "log_density": value})
    return rows
