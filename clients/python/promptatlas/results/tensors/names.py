"""Names of tensors: ours, and the ones that TransformerLens' users know."""

from __future__ import annotations

import re

Key = str | tuple[str] | tuple[str, int | None]
"""``"resid_post.3"``, ``("resid_post", 3)``, ``"blocks.3.hook_resid_post"``, ``"embed"`` or a module path."""

_BLOCK_HOOK = re.compile(r"blocks\.(\d+)\.(?:hook_(resid_pre|resid_post|attn_out|mlp_out)|attn\.hook_(pattern))")
_HOOKS = {"hook_embed": "embed", "ln_final.hook_normalized": "final_norm"}
_SHORT = {"pattern": "attn_probs", "normalized": "final_norm"}


def canonical(key: Key) -> str:
    """The tensor's name in a result, out of any of its names."""
    if isinstance(key, str):
        return _canonical_text(key)
    site = _SHORT.get(key[0], key[0])
    layer = key[1] if len(key) > 1 else None
    return site if layer is None else f"{site}.{layer}"


def _canonical_text(name: str) -> str:
    hook = _BLOCK_HOOK.fullmatch(name)
    if hook is None:
        return _HOOKS.get(name, name)
    layer, site, pattern = hook.groups()
    return f"{site or _SHORT[pattern]}.{layer}"
