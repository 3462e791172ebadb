"""Registry of prompt compilers, and functions that call them. A new kind needs a file like ``soft.py`` and a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from promptatlas.types.forms import PromptKind

from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.parallel.leader import announced, tap_keys
from service.engine.parallel.messages import CompilePrompt, ReadPrompt
from service.engine.prompts.compiler import PromptCompiler
from service.engine.prompts.deep import DeepCompiler
from service.engine.prompts.prefix import PrefixCompiler
from service.engine.prompts.prompt import Prompt
from service.engine.prompts.soft import SoftCompiler
from service.engine.prompts.steering import SteeringCompiler
from service.engine.shapes import Tensor

COMPILERS: Mapping[PromptKind, PromptCompiler] = {
    "soft": SoftCompiler(),
    "deep": DeepCompiler(),
    "prefix": PrefixCompiler(),
    "steering": SteeringCompiler(),
}


def compiler_of(prompt: Prompt) -> PromptCompiler:
    """The compiler of the prompt's kind."""
    return COMPILERS[prompt.kind]


def check_fit(model: HostedModel, prompt: Prompt) -> None:
    """Raise InvalidRequest, with expected and received shapes, if the prompt does not fit the model."""
    compiler_of(prompt).check(model, prompt)


def compile_prompt(model: HostedModel, prompt: Prompt) -> CompiledPrompt:
    """Keys and values of ``prompt`` in every layer; differentiable in its tensors unless gradients are disabled.

    Raises:
        InvalidRequest: the prompt does not fit the model.
    """
    check_fit(model, prompt)
    leader = model.leader
    if leader is None:
        return compiler_of(prompt).compile(model, prompt)
    with leader.call(lambda _: CompilePrompt(leader.next_number(), prompt.tensors, prompt.where)):
        compiled = compiler_of(prompt).compile(model, prompt)
    leader.keep(compiled)
    return compiled


def has_states(prompt: Prompt, layer: int) -> bool:
    """Whether the prompt's virtual positions exist in this block."""
    return compiler_of(prompt).has_states(prompt, layer)


def virtual_states(model: HostedModel, prompt: Prompt, taps: Sequence[Tap]) -> dict[Tap, Tensor]:
    """States `[n_virtual, …]` at the prompt's virtual positions; zeros at taps where these have no states."""
    compiler, n = compiler_of(prompt), prompt.n_virtual
    states: dict[Tap, Tensor] = {}

    def keep(tap: Tap, rows: Tensor) -> None:
        states[tap] = rows.detach().float().cpu()

    reading = announced(model.leader, lambda _: ReadPrompt(prompt.tensors, prompt.where, tap_keys(taps)))
    with torch.inference_mode(), reading:
        compiler.run(model, prompt, reads=taps, on_read=keep)
    for tap in taps:
        # The run of a local prompt also computes states that the compiled prompt does not have.
        if tap not in states or not compiler.reads_at(prompt, tap, n_layers=model.architecture.n_layers):
            states[tap] = torch.zeros(n, *model.catalogue.row_shape(tap, n_keys=n))
    return states
