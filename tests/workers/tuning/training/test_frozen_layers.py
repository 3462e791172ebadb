from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.oracle.models import ARCHITECTURES, build_model
from tests.oracle.prompts import deep
from tests.oracle.runs import oracle_states
from tests.workers.tuning.small_training import FORMS, N_VIRTUAL, examples, hosted, members, run, settings, trainer
from workers.tuning.training.frozen_layers import FrozenLayers

EXAMPLES = examples(6, seed=9)


def frozen(max_bytes: int, *, layer: int = 2) -> FrozenLayers:
    return FrozenLayers(hosted(), layer=layer, n_virtual=N_VIRTUAL, max_bytes=max_bytes)


def n_forwards(layers: FrozenLayers, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that receives the lengths of the texts that are run."""
    calls: list[int] = []
    inner = layers._run

    def counted(example: object) -> Tensor:
        states = inner(example)  # type: ignore[arg-type]
        calls.append(len(states))
        return states

    monkeypatch.setattr(layers, "_run", counted)
    return calls


def test_states_have_the_positions_after_virtual_ones_without_attending_to_them() -> None:
    model, parts = build_model("llama"), ARCHITECTURES["llama"].parts
    prompt = deep(model, layers=(2,), where="local", n_virtual=N_VIRTUAL, seed=1)
    for example in EXAMPLES[:2]:
        ids = example.input_ids + example.target_ids[:-1]
        expected = oracle_states(model, parts, ids, prompt)["resid_pre.2"][N_VIRTUAL:]
        torch.testing.assert_close(frozen(1 << 20).states(example), expected, atol=1e-5, rtol=1e-5)


def test_an_example_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = frozen(1 << 20)
    calls = n_forwards(layers, monkeypatch)
    first = [layers.states(example) for example in EXAMPLES]
    again = [layers.states(example) for example in EXAMPLES]
    assert calls == [example.length for example in EXAMPLES]
    assert all(a is b for a, b in zip(first, again, strict=True))
    assert layers.n_bytes == sum(example.length for example in EXAMPLES) * hosted().d_model * 4


def test_states_that_do_not_fit_are_recomputed_bitwise(monkeypatch: pytest.MonkeyPatch) -> None:
    n_bytes = sum(example.length for example in EXAMPLES[:3]) * hosted().d_model * 4
    layers = frozen(n_bytes)
    calls = n_forwards(layers, monkeypatch)
    first = [layers.states(example) for example in EXAMPLES]
    again = [layers.states(example) for example in EXAMPLES]
    assert layers.n_bytes <= n_bytes
    assert len(EXAMPLES) < len(calls) < 2 * len(EXAMPLES)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("name", ["deep-local", "deep-carried"])
def test_lower_blocks_do_not_run_once_all_states_are_cached(name: str) -> None:
    form = FORMS[name]
    trained = run(trainer(members(form), settings(form, steps=12, batch_size=4)), until=6)
    ran = set()
    handles = [
        mlp.register_forward_hook(lambda module, args, output, layer=layer: ran.add(layer))
        for layer, mlp in enumerate(hosted().architecture.mlps)
    ]
    trained.step()
    for handle in handles:
        handle.remove()
    assert min(ran) == form.layers[0]
