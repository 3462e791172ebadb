"""Conversion between PEFT's prompt-learning adapters and native prompts.

For all of these methods, PEFT saves one tensor ``prompt_embeddings``: the output of its prompt encoder, after any
reparametrisation. For PROMPT_TUNING and P_TUNING it has the vectors in front of the text, ``[n_virtual, d_model]``.
For PREFIX_TUNING and CARTRIDGE it has keys and values, ``[n_virtual, n_layers * 2 * n_kv_heads * d_head]``. The last axis runs
over layers, then key/value, then heads, then dimensions of a head, so the native form is a transpose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from service.errors import InvalidRequest
from service.store.artifacts.tensor_codec import MAX_HEADER_BYTES, decode, parse_json
from service.store.prompts.adapter_zip import (
    CONFIG_NAME,
    MAX_WEIGHTS_BYTES,
    WEIGHTS_NAME,
    read_adapter_zip,
    write_adapter_zip,
)
from service.store.prompts.checks import BaseShape
from service.store.prompts.native_format import PromptFile, find_base, make_prompt

TENSOR = "prompt_embeddings"

_KINDS: Mapping[str, Literal["soft", "prefix"]] = {
    "PROMPT_TUNING": "soft",
    "P_TUNING": "soft",
    "PREFIX_TUNING": "prefix",
    "CARTRIDGE": "prefix",
}
_ADVICE_BASE = "Name the base with ?base=."


def parse_peft(data: bytes, *, bases: Sequence[BaseShape], base: str | None = None) -> PromptFile:
    """Check an uploaded zip of a PEFT adapter directory, and convert it to a native prompt.

    Args:
        data: the zip.
        bases: the hosted models.
        base: the base model of the adapter; None selects the hosted model that it fits.

    Raises:
        InvalidRequest: the zip is not such an adapter, cannot be represented, or fits no base or several.
        NotFound: ``base`` is not hosted.
    """
    config_bytes, weights = read_adapter_zip(data, max_weights_bytes=_max_weights_bytes(bases))
    config = parse_json(config_bytes, what=CONFIG_NAME)
    if not isinstance(config, dict):
        raise InvalidRequest(f"{CONFIG_NAME} must be a JSON object.")
    kind = _kind_of(config)
    vectors = _vectors_of(weights, config=config)
    if base is not None:
        shape = find_base(base, bases=bases)
        problem = _misfit(kind, vectors=vectors, config=config, base=shape)
        if problem is not None:
            raise InvalidRequest(f"The adapter does not fit {shape.name}: {problem}")
    else:
        shape = _fitting_base(kind, vectors=vectors, config=config, bases=bases)
    tensor = vectors if kind == "soft" else _native_prefix(vectors, base=shape)
    return make_prompt(kind, tensors={kind: tensor}, base=shape, notes=_notes_of(config))


def adapter_warnings(prompt: PromptFile) -> list[str]:
    """Reasons to check a prompt that ``parse_peft`` returned: its adapter names another base model."""
    notes = prompt.notes if isinstance(prompt.notes, dict) else {}
    named = str(notes.get("base_model_name_or_path", prompt.base))
    if named.rstrip("/").rpartition("/")[2] == prompt.base:
        return []
    return [
        f"The adapter's base_model_name_or_path is {named!r}. The prompt is stored for {prompt.base!r}, whose shape it fits; "
        "if that is another model, the prompt does not mean the same there."
    ]


def export_peft(prompt: PromptFile) -> bytes:
    """A zip of an adapter directory that ``PeftModel.from_pretrained`` loads on the same base model.

    Raises:
        InvalidRequest: PEFT has no adapter type for the kind, such as deep.
    """
    if prompt.kind not in _KINDS.values():
        raise InvalidRequest(f"PEFT has no form for a {prompt.kind} prompt; use the native format (format=native).")
    config: dict[str, object] = {
        "base_model_name_or_path": prompt.base,
        "inference_mode": True,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": prompt.n_virtual,
        "task_type": "CAUSAL_LM",
    }
    vectors = prompt.tensors[prompt.kind]
    if prompt.kind == "soft":
        config |= {"peft_type": "PROMPT_TUNING", "prompt_tuning_init": "RANDOM", "token_dim": prompt.d_model}
    else:
        n_layers, _, n_kv_heads, n_virtual, d_head = vectors.shape
        config |= {
            "peft_type": "PREFIX_TUNING",
            "num_layers": n_layers,
            "num_attention_heads": n_kv_heads,
            "token_dim": n_kv_heads * d_head,
            "encoder_hidden_size": n_kv_heads * d_head,
            "prefix_projection": False,
        }
        vectors = np.ascontiguousarray(vectors.transpose(3, 0, 1, 2, 4)).reshape(n_virtual, -1)
    weights = safetensors.numpy.save({TENSOR: vectors}, metadata={"format": "pt"})
    return write_adapter_zip(json.dumps(config, indent=2, sort_keys=True).encode(), weights=weights)


def _max_weights_bytes(bases: Sequence[BaseShape]) -> int:
    """Size of the largest possible prompt of any base, in float64. Larger files are rejected before they are unpacked."""
    widths = [(max(base.d_model, base.n_layers * 2 * base.n_kv_heads * base.d_head), base) for base in bases]
    largest = max((width * base.n_positions * 8 for width, base in widths), default=0)
    return min(MAX_WEIGHTS_BYTES, largest + MAX_HEADER_BYTES)


def _kind_of(config: Mapping[str, Any]) -> Literal["soft", "prefix"]:
    peft_type = config.get("peft_type")
    kind = _KINDS.get(peft_type) if isinstance(peft_type, str) else None
    if kind is None:
        raise InvalidRequest(
            f"Adapters of type {', '.join(_KINDS)} are prompts; this one has peft_type {str(peft_type)[:80]!r}."
        )
    task = config.get("task_type")
    if task not in (None, "CAUSAL_LM"):
        raise InvalidRequest(f"The adapter must be for task_type CAUSAL_LM; it is for {str(task)[:80]!r}.")
    if config.get("num_transformer_submodules") not in (None, 1):
        raise InvalidRequest("The adapter is for an encoder-decoder model; only decoder-only models are hosted.")
    if config.get("modules_to_save"):
        raise InvalidRequest("The adapter trains modules of the model too (modules_to_save); a prompt holds none.")
    return kind


def _vectors_of(weights: bytes, *, config: Mapping[str, Any]) -> npt.NDArray[Any]:
    tensors = decode(weights).tensors
    if set(tensors) != {TENSOR}:
        names = ", ".join(repr(name[:80]) for name in sorted(tensors)[:4]) or "none"
        raise InvalidRequest(f"{WEIGHTS_NAME} must hold {TENSOR!r} alone; it holds {names}.")
    vectors = tensors[TENSOR]
    if vectors.ndim != 2:
        raise InvalidRequest(f"{TENSOR!r} must have two axes, n_virtual first; its shape is {list(vectors.shape)}.")
    n_virtual = config.get("num_virtual_tokens")
    if n_virtual is not None and n_virtual != vectors.shape[0]:
        raise InvalidRequest(
            f"{CONFIG_NAME} says num_virtual_tokens {str(n_virtual)[:20]}; {TENSOR!r} has {vectors.shape[0]} rows."
        )
    return vectors


def _misfit(
    kind: Literal["soft", "prefix"], *, vectors: npt.NDArray[Any], config: Mapping[str, Any], base: BaseShape
) -> str | None:
    """The reason why the adapter does not fit ``base``; None if it fits."""
    n_columns, expected, form = vectors.shape[1], base.d_model, "d_model"
    if kind == "prefix":
        expected = base.n_layers * 2 * base.n_kv_heads * base.d_head
        form = "n_layers * 2 * n_kv_heads * d_head"
        sizes = {
            "num_layers": base.n_layers,
            "num_attention_heads": base.n_kv_heads,
            "token_dim": base.n_kv_heads * base.d_head,
        }
        for name, value in sizes.items():
            if config.get(name) not in (None, value):
                return f"its config says {name} {str(config[name])[:20]}, keys and values of the model need {value}."
    if n_columns != expected:
        return f"{TENSOR!r} should have {expected} columns ({form}), it has {n_columns}."
    if vectors.shape[0] >= base.n_positions:
        return f"{vectors.shape[0]} virtual tokens leave none of the model's {base.n_positions} positions for text."
    return None


def _fitting_base(
    kind: Literal["soft", "prefix"],
    *,
    vectors: npt.NDArray[Any],
    config: Mapping[str, Any],
    bases: Sequence[BaseShape],
) -> BaseShape:
    problems = {base.name: _misfit(kind, vectors=vectors, config=config, base=base) for base in bases}
    fitting = [base for base in bases if problems[base.name] is None]
    if len(fitting) > 1:
        names = ", ".join(base.name for base in fitting)
        raise InvalidRequest(f"The adapter fits several hosted models ({names}). {_ADVICE_BASE}", loc=("base",))
    if not fitting:
        reasons = " ".join(f"{name}: {problem}" for name, problem in problems.items())
        raise InvalidRequest(f"The adapter fits no hosted model. {reasons}".rstrip())
    return fitting[0]


def _native_prefix(vectors: npt.NDArray[Any], *, base: BaseShape) -> npt.NDArray[Any]:
    split = vectors.reshape(vectors.shape[0], base.n_layers, 2, base.n_kv_heads, base.d_head)
    return split.transpose(1, 2, 3, 0, 4)


def _notes_of(config: Mapping[str, Any]) -> dict[str, str] | None:
    """Origin of the adapter as given in its config, for the notes of the prompt."""
    names = ("peft_type", "base_model_name_or_path", "peft_version")
    origin = {name: config[name][:200] for name in names if isinstance(config.get(name), str) and config[name]}
    return {"imported_from": "peft", **origin}
