"""The tested reasons: distances under AdamW's bound, fits from few tokens, and means of the same tokens in both forms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from promptatlas import Client
from safetensors.numpy import save
from scipy.stats import multivariate_normal

from demo.study.plan import Size
from demo.study.reasons.fits import KINDS, fits
from demo.study.reasons.movement import bound, measure_movement
from demo.study.reasons.states import means_at, read_states, tokens_at
from demo.study.reasons.template import prefix_of, separation
from demo.study.record import Done, Record
from demo.tour.model_text import ModelText


def test_the_bound_is_the_sum_of_the_rates_of_a_linear_schedule() -> None:
    rates = [0.5 * (1 - i / 4) for i in range(4)]
    assert bound(4, steps=4, rate=0.5, d_model=9) == pytest.approx(3 * sum(rates))
    assert bound(2, steps=4, rate=0.5, d_model=9) == pytest.approx(3 * sum(rates[:2]))
    assert bound(0, steps=4, rate=0.5, d_model=9) == 0
    assert bound(9, steps=4, rate=0.5, d_model=9) == bound(4, steps=4, rate=0.5, d_model=9)


def test_adamw_stays_below_the_bound() -> None:
    torch.manual_seed(0)
    steps, rate, d_model = 30, 0.1, 16
    start = torch.randn(d_model)
    vector = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([vector], lr=rate, weight_decay=0.0)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        vector.grad = torch.ones(d_model)
        optimizer.step()
    moved = float((vector.detach() - start).norm())
    assert 0.99 * bound(steps, steps=steps, rate=rate, d_model=d_model) <= moved
    assert moved <= 1.001 * bound(steps, steps=steps, rate=rate, d_model=d_model)


class FakeRun:
    """A run with one prompt, whose vectors move by 3 in the first and 4 in the second step, at right angles."""

    spec: Mapping[str, Any] = {"optimizer": {"steps": 2}}

    def read(self, path: str) -> bytes:
        draw = np.zeros((2, 5), np.float32)
        draw[1, 4] = 12
        if path == "members.json":
            row = {"prompt": "a@1", "lr": 0.1, "seed": 3, "prior": {"kind": "isotropic", "std": 0.5}}
            return json.dumps([row]).encode()
        if path == "draws/a@1.safetensors":
            return bytes(save({"soft": draw}))
        assert path == "snapshots/a@1.safetensors"
        moves = [draw, draw + np.array([3, 0, 0, 0, 0], np.float32), draw + np.array([3, 4, 0, 0, 0], np.float32)]
        return bytes(save({"soft": np.stack(moves), "steps": np.array([0, 1, 2])}))


def test_distances_are_those_of_the_snapshots() -> None:
    record = Record(plan="a", size=Size(steps=1)).with_run("soft-arithmetic", Done(run_id="run-1", seconds=1.0))
    client = SimpleNamespace(runs=SimpleNamespace(get=lambda _id: FakeRun()))
    (row,) = measure_movement(cast(Client, client), record=record)
    assert [(point["step"], point["moved"]) for point in row["points"]] == [(0, 0), (1, 3), (2, 5)]
    assert (row["between_draws"], row["lr"], row["prior"], row["seed"]) == (12, 0.1, "isotropic(0.5)", 3)
    assert measure_movement(cast(Client, client), record=Record(plan="a", size=Size(steps=1))) == []


def test_fits_have_the_density_of_scipy_and_none_where_it_is_singular() -> None:
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(600, 7)) @ rng.normal(size=(7, 7))).astype(np.float32)
    held_out = points[500:]
    rows = fits(points[:500], held_out=held_out)
    assert {(row["n"], row["shrinkage"]) for row in rows} == {(n, kind) for n in (128, 256) for kind in KINDS}
    chosen = np.random.default_rng(0).permutation(points[:500])[:256].astype(np.float64)
    plain = multivariate_normal(chosen.mean(0), np.cov(chosen.T, bias=True)).logpdf(held_out).mean() / 7
    measured = next(row["log_density"] for row in rows if (row["n"], row["shrinkage"]) == (256, "none"))
    assert measured == pytest.approx(plain, rel=1e-4)
    few = fits(rng.normal(size=(128, 200)).astype(np.float32), held_out=rng.normal(size=(9, 200)).astype(np.float32))
    assert {row["shrinkage"]: row["log_density"] is None for row in few} == {
        "auto": False,
        "none": True,
        "ledoit-wolf": False,
        "oas": False,
    }


class FakeModel:
    """The state of a token at layer l is (id, position, l); its id is the length of the word."""

    def __init__(self) -> None:
        self.models = SimpleNamespace(tokenize=self._tokenize)
        self.activations = SimpleNamespace(get=self._get)

    def _tokenize(self, _model: str, *, prompt: str, add_special_tokens: bool) -> SimpleNamespace:
        assert not add_special_tokens
        return SimpleNamespace(tokens=[len(word) for word in prompt.split()])

    def _get(self, *, model: str, inputs: Sequence[Sequence[int]], sites: Sequence[str], layers: Sequence[int]) -> Any:
        assert (model, list(sites)) == ("m", ["resid_pre"])
        rows = [(token, position) for ids in inputs for position, token in enumerate(ids)]

        class Cache(dict[Any, Any]):
            def __enter__(self) -> Cache:
                return self

            def __exit__(self, *_: object) -> None: ...

        return Cache({("resid_pre", layer): np.array([(*row, layer) for row in rows]) for layer in layers})


def test_the_same_tokens_are_read_with_and_without_a_prefix() -> None:
    client = cast(Client, FakeModel())
    texts = ["a bb ccc", "dddd", "", "e ff", "gg hh ii jj", "k ll mmm", "nn ooo"]
    bare = read_states(client, model="m", texts=texts, layers=[0, 4])
    behind = read_states(client, model="m", texts=texts, layers=[0, 4], prefix="xxxxx yyyyyy")
    assert len(bare) == 5
    first = tokens_at(bare[:1], layer=4)
    assert first.tolist() == [[2, 1, 4], [3, 2, 4]]
    assert tokens_at(behind[:1], layer=4).tolist() == [[2, 3, 4], [3, 4, 4]]
    assert tokens_at(bare, layer=0)[:, 0].tolist() == tokens_at(behind, layer=0)[:, 0].tolist()
    assert means_at(bare, layer=0)[0].tolist() == [2.5, 1.5, 0]


def test_distant_clouds_are_apart_and_equal_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    first, second, third = (rng.normal(size=(40, 6)).astype(np.float32) for _ in range(3))
    far = separation(first, second + 10)
    assert far["apart"]
    assert far["silhouette"]["value"] > 0.5
    assert not separation(first, third)["apart"]


@pytest.mark.parametrize(("template", "prefix"), [(None, ""), ("<s>{}</s>", "<s>")])
def test_the_prefix_is_what_the_template_puts_in_front(template: str | None, prefix: str) -> None:
    text = SimpleNamespace(chat=lambda message: message if template is None else template.format(message))
    assert prefix_of(cast(ModelText, text)) == prefix
