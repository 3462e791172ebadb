"""Export of soft prompts as vectors that precede the embeddings of a text, as vLLM and transformers take them."""

from __future__ import annotations

from service.errors import InvalidRequest
from service.store.artifacts.tensor_codec import encode
from service.store.prompts.native_format import PromptFile

EMBEDS_TENSOR = "prompt_embeds"


def export_embeds(prompt: PromptFile) -> bytes:
    """A safetensors file with the tensor ``prompt_embeds`` `[n_virtual, d_model]`, float32 as stored.

    The type does not depend on the server that exports it, and every type that a model may run in follows from it.

    Raises:
        InvalidRequest: the prompt is not soft.
    """
    if prompt.kind != "soft":
        raise InvalidRequest(
            f"Only soft prompts are vectors in place of token embeddings; this one is {prompt.kind}, which format 'native' "
            "returns."
        )
    header = {
        "kind": prompt.kind,
        "base": prompt.base,
        "base_revision": prompt.base_revision,
        "n_virtual": prompt.n_virtual,
        "sha256": prompt.sha256,
    }
    return encode({EMBEDS_TENSOR: prompt.tensors["soft"]}, metadata=header)
