"""What one member of a tuning run needs at the very least, so that only what can never work is refused.

Many members are split into groups that fit, so one alone decides. How long the texts are is not known here: the shortest
that can be learnt from are counted, and of everything only what no implementation can do without. All sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from promptatlas.types import TuneSpec

from service.errors import InvalidRequest
from service.planning.checks.methods import N_LEAST_TEXT, Form
from service.planning.context import Base

_VALUE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_PROMPT_BYTES = 4
_TRAINED_COPIES = 4
"""The prompt, its gradient, and AdamW's two averages."""

_MLP_WIDTH = 4
"""Matrices of the smallest usual MLP, in squares of d_model."""

_KEPT_PER_LAYER = 4
"""Vectors of d_model that the backward pass needs of a token and block: its input, that of its MLP, and both outputs."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes that one member needs at least: of the frozen model, the trained prompt, and the states of one forward."""

    model_bytes: int
    prompt_bytes: int
    state_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.model_bytes + self.prompt_bytes + self.state_bytes


def least_need(spec: TuneSpec, *, base: Base, form: Form) -> Need:
    """What tuning one member of ``spec`` needs at least."""
    value_bytes = _VALUE_BYTES.get(base.dtype, 2)
    return Need(
        model_bytes=n_parameters(base) * value_bytes,
        prompt_bytes=_n_prompt_values(base, form) * _PROMPT_BYTES * _TRAINED_COPIES,
        state_bytes=_n_state_values(spec, base, form) * value_bytes,
    )


def n_parameters(base: Base) -> int:
    """Values of the model at least: embeddings shared with the head, attention, a narrow MLP."""
    attention = 2 * base.d_model * base.d_head * (base.n_heads + base.n_kv_heads)
    return base.vocab_size * base.d_model + base.n_layers * (attention + _MLP_WIDTH * base.d_model**2)


def check_memory(spec: TuneSpec, *, base: Base, form: Form, memory_bytes: int | None) -> None:
    """Refuse a run of which not even one member fits a worker; nothing is refused while its memory is not known.

    Raises:
        InvalidRequest: at the field that asks for most.
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
        f"One member alone needs at least {_shown(need.total_bytes)} ({_shown(need.model_bytes)} the model, "
        f"{_shown(need.prompt_bytes)} the prompt, {_shown(need.state_bytes)} the states of a forward); a worker here has "
        f"{_shown(memory_bytes)}. A smaller optimizer.batch_size, a larger optimizer.accumulate, fewer virtual tokens or "
        "gradient_checkpointing need less.",
        loc=max(fields, key=lambda field: fields[field]),
    )


def _n_prompt_values(base: Base, form: Form) -> int:
    return form.prompt_form.n_values(base, n_virtual=form.n_virtual, layers=form.layers)


def _n_state_values(spec: TuneSpec, base: Base, form: Form) -> int:
    n_rows = -(-spec.optimizer.batch_size // spec.optimizer.accumulate)
    n_tokens = n_rows * N_LEAST_TEXT
    # Below the lowest trained layer no gradient flows; with checkpointing a block keeps its input only.
    n_layers = base.n_layers - (form.layers[0] if form.layers else 0)
    kept = 1 if spec.gradient_checkpointing else _KEPT_PER_LAYER
    return n_tokens * n_layers * kept * base.d_model + n_rows * base.vocab_size


def _shown(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"
