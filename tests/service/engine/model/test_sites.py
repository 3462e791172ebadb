from __future__ import annotations

import pytest

from service.engine.model.sites import SiteCatalogue, Tap
from service.errors import InvalidRequest

CATALOGUE = SiteCatalogue(
    n_layers=4, d_model=11, vocab_size=97, n_heads=3, widths={"model.layers.1.mlp": (11,), "q": (3, 7)}
)


@pytest.mark.parametrize(
    ("sites", "layers", "labels"),
    [
        (["resid_post"], [1, -1], ["resid_post.1", "resid_post.3"]),
        (["resid_pre", "embed"], "all", ["resid_pre.0", "resid_pre.1", "resid_pre.2", "resid_pre.3", "embed"]),
        (["blocks.2.hook_resid_post", "blocks.0.attn.hook_pattern"], [1], ["resid_post.2", "attn_probs.0"]),
        (["hook_embed", "ln_final.hook_normalized"], [], ["embed", "final_norm"]),
        (["attn_out.-1", "attn_out"], [3], ["attn_out.3"]),
        (["model.layers.1.mlp", "logits"], [], ["model.layers.1.mlp", "logits"]),
        (["blocks.1.hook_mlp_out", "blocks.1.hook_attn_out"], [], ["mlp_out.1", "attn_out.1"]),
    ],
)
def test_names_resolve_to_canonical_labels(sites: list[str], layers: list[int], labels: list[str]) -> None:
    assert [tap.label for tap in CATALOGUE.resolve(sites, layers)] == labels


@pytest.mark.parametrize(
    ("sites", "layers", "loc", "says"),
    [
        (["resid_post"], [0, 4], ("layers", 1), "0 to 3"),
        (["resid_post"], [-5], ("layers", 0), "0 to 3"),
        (["resid_post"], [], ("layers",), "at least one layer"),
        ([], [0], ("sites",), "at least one site"),
        (["embed", "blocks.9.hook_resid_post"], [0], ("sites", 1), "0 to 3"),
        (["resid_mid"], [0], ("sites", 0), "resid_post"),
        (["blocks.1.hook_nothing"], [0], ("sites", 0), "not known"),
    ],
)
def test_what_the_model_does_not_have_is_refused(
    sites: list[str], layers: list[int], loc: tuple[str | int, ...], says: str
) -> None:
    with pytest.raises(InvalidRequest, match=says) as error:
        CATALOGUE.resolve(sites, layers)
    assert error.value.loc == loc


def test_widths_of_rows() -> None:
    sizes = {
        tap.label: CATALOGUE.n_values(tap, n_keys=5)
        for tap in (
            Tap("embed"),
            Tap("logits"),
            Tap("attn_probs", 0),
            Tap("module", path="q"),
            Tap("mlp_out", 2),
        )
    }
    assert sizes == {"embed": 11, "logits": 97, "attn_probs.0": 15, "q": 21, "mlp_out.2": 11}
