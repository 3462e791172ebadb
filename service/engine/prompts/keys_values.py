"""Keys and values of a compiled prompt as tensors for other programs, such as a cache of transformers."""

from __future__ import annotations

from collections.abc import Mapping

from service.engine.model.hosted_model import HostedModel
from service.engine.parallel.leader import announced
from service.engine.parallel.messages import CollectPrompt
from service.engine.prompts.cache import LoadedPrompt
from service.engine.shapes import Tensor
from service.errors import InvalidRequest


def cache_tensors(model: HostedModel, loaded: LoadedPrompt) -> Mapping[str, Tensor]:
    """``keys.{layer}`` `[1, n_kv_heads, n_virtual, d_key]` and ``values.{layer}`` `[1, n_kv_heads, n_virtual, d_value]`.

    They are as the cache holds them: keys have their rotary embedding for the positions 0 to n_virtual - 1, except those of a
    prefix prompt, which has none.

    Raises:
        InvalidRequest: the prompt has no virtual positions, or not in every layer.
    """
    compiled, kind = loaded.compiled, loaded.prompt.kind
    if compiled.n_virtual == 0:
        raise InvalidRequest(f"A {kind} prompt has no keys and values: it adds vectors to the states of the text.")
    without = [layer for layer, key in enumerate(compiled.keys) if key is None]
    if without:
        raise InvalidRequest(
            f"This {kind} prompt has virtual positions in some layers only (none in {_listed(without)}). A cache has the same "
            "positions in every layer, so that its keys and values cannot stand alone."
        )
    if (division := model.division) is not None:
        with announced(model.leader, lambda leader: CollectPrompt(leader.number_of(loaded.compiled))):
            compiled = division.whole_prompt(compiled)
    pairs = {"keys": compiled.keys, "values": compiled.values}
    return {
        f"{name}.{layer}": tensor[None].detach().cpu()
        for name, tensors in pairs.items()
        for layer, tensor in enumerate(tensors)
        if tensor is not None
    }


def _listed(layers: list[int]) -> str:
    shown = ", ".join(map(str, layers[:8]))
    return f"layers {shown}" + (", …" if len(layers) > 8 else "")
