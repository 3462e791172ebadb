"""The choice of the MLP that is restricted to the tokens read above it."""

from __future__ import annotations

import pytest

from service.engine.model.architecture import find_architecture
from service.engine.model.layers.partial_mlp import unread_mlp
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
def test_a_forward_that_stops_restricts_the_last_block_that_is_read(taps: list[Tap], layer: int | None) -> None:
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
def test_a_forward_to_the_logits_restricts_the_last_block_if_no_tap_reads_it(
    taps: list[Tap], layer: int | None
) -> None:
    assert found(taps, stops=False) == layer
