"""The MLP that may be restricted to the tokens read above it."""

from __future__ import annotations

import pytest

from service.engine.model.architecture import find_architecture
from service.engine.model.partial_mlp import unread_mlp
from service.engine.model.sites import Tap
from tests.oracle.models import N_LAYERS, build_model

LAST = N_LAYERS - 1


def found(taps: list[Tap], *, stops: bool) -> int | None:
    model = build_model("llama")
    return unread_mlp(taps, find_architecture(model), model=model, stops=stops)


@pytest.mark.parametrize(
    ("taps", "layer"),
    [
        ([Tap("resid_post", 1)], 1),
        ([Tap("embed"), Tap("resid_pre", 1), Tap("attn_out", 1), Tap("attn_probs", 1), Tap("resid_post", 1)], 1),
        ([Tap("mlp_out", 0), Tap("resid_post", 1)], 1),
        ([Tap("mlp_out", 1), Tap("resid_post", 1)], None),
        ([Tap("resid_post", 0), Tap("attn_out", 1)], None),
        ([Tap("resid_pre", 1)], None),
        ([Tap("resid_post", 1), Tap("final_norm")], None),
        ([Tap("resid_post", 1), Tap("module", path="model.layers.0.mlp.up_proj")], None),
        ([Tap("embed")], None),
    ],
)
def test_of_a_forward_that_stops_it_is_that_of_the_last_block_read(taps: list[Tap], layer: int | None) -> None:
    assert found(taps, stops=True) == layer


@pytest.mark.parametrize(
    ("taps", "layer"),
    [
        ([], LAST),
        ([Tap("embed"), Tap("resid_post", LAST - 1), Tap("mlp_out", 0)], LAST),
        ([Tap("resid_post", LAST)], None),
        ([Tap("resid_pre", LAST)], None),
        ([Tap("logits")], None),
    ],
)
def test_of_a_forward_to_the_logits_it_is_the_last_one_if_nothing_reads_that_block(
    taps: list[Tap], layer: int | None
) -> None:
    assert found(taps, stops=False) == layer
