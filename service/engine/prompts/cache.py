"""Cache of compiled prompts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.prompts.prompt import Prompt, concat_prompts, mix_prompts
from service.engine.prompts.registry import compile_prompt, compiler_of
from service.engine.shapes import Tensor

_NO_CONTENTS: Mapping[str, Prompt] = {}


@dataclass(frozen=True)
class LoadedPrompt:
    """A prompt with its compiled form.

    additions: vectors `[d_model]` that are added to the states of every text and generated token at a tap.
    """

    prompt: Prompt
    compiled: CompiledPrompt
    additions: Mapping[Tap, Tensor] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        return self.compiled.n_bytes + sum(t.numel() * t.element_size() for t in self.additions.values())


class PromptCache:
    """Least-recently-used cache of compiled prompts, keyed by content hashes and weights.

    A cache belongs to one model in one dtype, so these are not part of the key. A choice that fails to load is not cached.
    """

    def __init__(self, model: HostedModel, *, load: Callable[[str], Prompt], max_bytes: int) -> None:
        self._model = model
        self._load = load
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[bool, tuple[tuple[str, float], ...]], LoadedPrompt] = OrderedDict()
        self.n_bytes = 0
        self.n_hits = 0
        self.n_misses = 0

    def __contains__(self, choice: PromptChoice) -> bool:
        return choice.key in self._entries

    def get(self, choice: PromptChoice, *, contents: Mapping[str, Prompt] = _NO_CONTENTS) -> LoadedPrompt:
        """The compiled choice. It is loaded and compiled once while it stays in the cache.

        Args:
            contents: prompts by content hash, which are not loaded.

        Raises:
            NotFound, DamagedArtifact: raised by ``load``.
            InvalidRequest: the choice does not fit the model, or its parts differ in form.
        """
        entry = self._entries.get(choice.key)
        if entry is not None:
            self._entries.move_to_end(choice.key)
            self.n_hits += 1
            return entry
        self.n_misses += 1
        parts = [(contents.get(sha256) or self._load(sha256), weight) for sha256, weight in choice.parts]
        if choice.is_concat:
            prompt = concat_prompts([part for part, _ in parts])
        else:
            prompt = parts[0][0] if len(parts) == 1 and parts[0][1] == 1.0 else mix_prompts(parts)
        with torch.inference_mode():
            compiled = compile_prompt(self._model, prompt)
        entry = LoadedPrompt(prompt, compiled, compiler_of(prompt).additions(prompt))
        self._keep(choice, entry)
        return entry

    def _keep(self, choice: PromptChoice, entry: LoadedPrompt) -> None:
        self._entries[choice.key] = entry
        self.n_bytes += entry.n_bytes
        while self.n_bytes > self._max_bytes and len(self._entries) > 1:
            _, oldest = self._entries.popitem(last=False)
            self.n_bytes -= oldest.n_bytes
