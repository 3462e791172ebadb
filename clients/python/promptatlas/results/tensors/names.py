"""Names of the tensors in a result: site names, and their TransformerLens aliases."""

from __future__ import annotations

from collections.abc import Container

from promptatlas.types.sites import NAMED_SITES, parse_alias

Key = str | tuple[str] | tuple[str, int | None]
"""``"resid_post.3"``, ``("resid_post", 3)``, ``"blocks.3.hook_resid_post"``, ``"embed"`` or a module path."""

# TransformerLens' caches accept the part of an alias after "hook_", such as ("pattern", 5).
_SHORT = {site.alias.rpartition("hook_")[2]: site.name for site in NAMED_SITES if site.alias is not None}


def canonical(key: Key, *, names: Container[str] = ()) -> str:
    """The tensor's name in a result, from any of its names. Names of no site, such as module paths, stay as they are.

    Args:
        names: of the tensors in the result. One that is the key itself is preferred: on some models, a TransformerLens name
            means another tensor than the site of which it is the alias elsewhere.
    """
    if isinstance(key, str):
        if key in names:
            return key
        found = parse_alias(key)
        return key if found is None else _label(found[0].name, found[1])
    return _label(_SHORT.get(key[0], key[0]), key[1] if len(key) > 1 else None)


def _label(site: str, layer: int | None) -> str:
    return site if layer is None else f"{site}.{layer}"
