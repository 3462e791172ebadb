"""TransformerLens on the small models of the tests: the tensors of its names, as ``{architecture}/{name}`` in a safetensors file.

``python SCRIPT RESULTS``
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator

import torch
from safetensors.torch import save_file

from tests.oracle.models import ARCHITECTURES, build_model, build_tokenizer

TOKENS = [5, 17, 3, 42, 8]
LAYER = 1
NAMES = (
    "hook_embed",
    *(f"blocks.{LAYER}.hook_{part}" for part in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")),
    *(f"blocks.{LAYER}.{part}" for part in ("attn.hook_z", "attn.hook_pattern", "mlp.hook_post")),
    "ln_final.hook_normalized",
)


def tensors_of(architecture: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Each name that TransformerLens has for this architecture, and its tensor of one text without the batch."""
    from transformer_lens.model_bridge import (
        TransformerBridge,  # not in the environment of the tests, which read the names
    )

    model, tokenizer = build_model(architecture), build_tokenizer()
    model.config.architectures = [type(model).__name__]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(folder, hf_model=model, tokenizer=tokenizer)
    with torch.no_grad():
        _, cache = bridge.run_with_cache(torch.tensor([TOKENS]), prepend_bos=False)
    for name in NAMES:
        if name in cache.keys():  # noqa: SIM118 (its `in` knows aliases only)
            yield f"{architecture}/{name}", cache[name][0].contiguous()


if __name__ == "__main__":
    save_file(dict(pair for architecture in ARCHITECTURES for pair in tensors_of(architecture)), sys.argv[1])
