from __future__ import annotations

import pytest
from promptatlas.results.tensors.names import Key, canonical


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("resid_post.3", "resid_post.3"),
        (("resid_post", 3), "resid_post.3"),
        ("blocks.3.hook_resid_post", "resid_post.3"),
        ("blocks.10.hook_resid_pre", "resid_pre.10"),
        ("blocks.0.hook_attn_out", "attn_out.0"),
        ("blocks.0.hook_mlp_out", "mlp_out.0"),
        ("blocks.5.attn.hook_pattern", "attn_probs.5"),
        (("pattern", 5), "attn_probs.5"),
        ("hook_embed", "embed"),
        (("embed",), "embed"),
        (("embed", None), "embed"),
        ("ln_final.hook_normalized", "ln_final.hook_normalized"),
        ("logits", "logits"),
        ("model.layers.3.mlp.gate_proj", "model.layers.3.mlp.gate_proj"),
        ("blocks.3.hook_unknown", "blocks.3.hook_unknown"),
    ],
)
def test_each_name_of_a_tensor(key: Key, name: str) -> None:
    assert canonical(key) == name


def test_a_tensor_with_the_name_of_the_key_is_preferred() -> None:
    assert canonical("blocks.0.hook_mlp_out", names={"mlp_out.0", "blocks.0.hook_mlp_out"}) == "blocks.0.hook_mlp_out"
    assert canonical("blocks.0.hook_mlp_out", names={"mlp_out.0"}) == "mlp_out.0"
