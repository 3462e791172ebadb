"""Lower bound of the memory that one member of a tuning run needs, to refuse runs that cannot fit.

Members are split into groups that fit, so the memory of one member decides. The lengths of texts are not known here, so the
bound assumes the shortest possible examples, and only values that every implementation needs. All sizes are in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from promptatlas.types import TuneSpec

from service.errors import InvalidRequest
from service.planning.checks.methods import MIN_TEXT_TOKENS, Form
from service.planning.context import Base

_VALUE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_PROMPT_BYTES = 4
_TRAINED_COPIES = 4
"""Copies of the prompt's size: the prompt, its gradient, and the two averages of AdamW."""

_MLP_WIDTH = 4
"""Parameters of a small MLP, in units of d_model²."""

_KEPT_PER_LAYER = 4
"""Vectors of d_model per token and block that the backward pass needs: the inputs and outputs of attention and MLP."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Lower bounds, in bytes: the frozen model, one member's trained prompt, and the states of one forward."""

    model_bytes: int
    prompt_bytes: int
    state_bytes: int

    @property
    def total_bytes(self) -> int:
        """The sum of all parts."""
        return self.model_bytes + self.prompt_bytes + self.state_bytes


def least_need(spec: TuneSpec, *, base: Base, form: Form) -> Need:
    """Lower bound of the memory for one member of ``spec``."""
    value_bytes = _VALUE_BYTES.get(base.dtype, 2)
    return Need(
        model_bytes=n_parameters(base) * value_bytes,
        prompt_bytes=_n_prompt_values(base, form) * _PROMPT_BYTES * _TRAINED_COPIES,
        state_bytes=_n_state_values(spec, base, form) * value_bytes,
    )


def n_parameters(base: Base) -> int:
    """Lower bound of the model's parameters: embeddings that are shared with the head, attention, and a narrow MLP."""
    attention = 2 * base.d_model * base.d_head * (base.n_heads + base.n_kv_heads)
    return base.vocab_size * base.d_model + base.n_layers * (attention + _MLP_WIDTH * base.d_model**2)


def check_memory(spec: TuneSpec, *, base: Base, form: Form, memory_bytes: int | None) -> None:
    """Refuse a run if one member alone does not fit a worker. memory_bytes: None, if unknown, refuses nothing.

    Raises:
        InvalidRequest: located at the field that needs most memory.
    """
    if memory_bytes is None:
        return
    need = least_need(spec, base=base, form=form)
    if need.total_bytes <= memory_bytes:
        return
    fields = {
        ("model",): need.model_bytes,
        ("method", "n_virtual"): need.prompt_bytes,
        ("optimizer", "batch_size"): need.state_bytes,
    }
    raise InvalidRequest(
        f"One member alone needs at least {_in_units(need.total_bytes)} ({_in_units(need.model_bytes)} the model, "
        f"{_in_units(need.prompt_bytes)} the prompt, {_in_units(need.state_bytes)} the states of a forward); a worker here has "
        f"{_in_units(memory_bytes)}. A smaller optimizer.batch_size, a larger optimizer.accumulate, fewer virtual tokens or "
        "gradient_checkpointing need less.",
        loc=max(fields, key=lambda field: fields[field]),
    )


def _n_prompt_values(base: Base, form: Form) -> int:
    return form.prompt_form.n_values(base, n_virtual=form.n_virtual, layers=form.layers)


def _n_state_values(spec: TuneSpec, base: Base, form: Form) -> int:
    n_rows = -(-spec.optimizer.batch_size // spec.optimizer.accumulate)
    n_tokens = n_rows * MIN_TEXT_TOKENS
    # Below the lowest trained layer no gradient flows; with checkpointing a block keeps its input only.
    n_layers = base.n_layers - (form.layers[0] if form.layers else 0)
    kept = 1 if spec.gradient_checkpointing else _KEPT_PER_LAYER
    return n_tokens * n_layers * kept * base.d_model + n_rows * base.vocab_size


def _in_units(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"
