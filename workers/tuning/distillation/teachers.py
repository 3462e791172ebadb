"""Teachers: where next-token distributions and states for a lesson come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from service.engine.activations.interventions import prompt_changes
from service.engine.attention.kv_cache import CompiledPrompt
from service.engine.attention.metadata import PackedMetadata, RecordingMetadata, SequenceGroup
from service.engine.model.hooks import ForwardHooks
from service.engine.model.hosted_model import HostedModel
from service.engine.model.sites import Tap
from service.engine.prompts.prompt import Prompt
from service.engine.prompts.registry import compile_prompt, compiler_of
from service.engine.shapes import Float, Tensor
from service.store.datasets.traces.store import TopTokensReader
from service.store.datasets.traces.top_tokens import TopTokens
from workers.tuning.distillation.distributions import Distributions, View, distributions_of
from workers.tuning.distillation.lessons import Lesson

MIN_REST = 2.0**-24
"""Least probability of the rest of a file's tokens: float32 log-probabilities leave smaller ones undetermined."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Teaching:
    """What a teacher gives for the n target tokens of a lesson.

    views: distributions of the target tokens. states: outputs `[n, d_model]` of blocks at the tokens that predict them, by
    layer; float32.
    """

    views: Mapping[View, Distributions]
    states: Mapping[int, Float[Tensor, "n d_model"]]

    @property
    def n_bytes(self) -> int:
        """Memory of all tensors."""
        states = sum(t.numel() * t.element_size() for t in self.states.values())
        return states + sum(view.n_bytes for view in self.views.values())


class Teacher(Protocol):
    """A teacher; gives the same for a lesson each time, bit by bit."""

    def teaching(self, lesson: Lesson) -> Teaching:
        """What it gives for all target tokens of the lesson."""


class _Kept:
    """What a teacher gave for each lesson, up to a limit."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._found: dict[tuple[str, int], Teaching] = {}

    def get(self, lesson: Lesson, *, read: Callable[[Lesson], Teaching]) -> Teaching:
        key = (lesson.split, lesson.index)
        found = self._found.get(key)
        if found is None:
            found = read(lesson)
            if self._n_bytes + found.n_bytes <= self._max_bytes:
                self._found[key] = found
                self._n_bytes += found.n_bytes
        return found


class _Front:
    """The first tokens of most lessons, read once. In a causal model, their keys and values do not depend on what follows."""

    def __init__(self, model: HostedModel, ids: Sequence[int]) -> None:
        self._ids = tuple(ids[: model.n_positions])
        metadata = RecordingMetadata(len(self._ids))
        model.forward(metadata, ids=torch.tensor(self._ids), positions=metadata.positions)
        layers = range(model.architecture.n_layers)
        self._keys = [metadata.keys[layer] for layer in layers]
        self._values = [metadata.values[layer] for layer in layers]

    def shared_with(self, ids: Sequence[int]) -> CompiledPrompt | None:
        """The tokens that ``ids`` begins with, without its last one, whose logits are needed; None if there are none."""
        pairs = zip(self._ids, ids[:-1], strict=False)
        n = next((i for i, (own, other) in enumerate(pairs) if own != other), min(len(self._ids), len(ids) - 1))
        if n == 0:
            return None
        return CompiledPrompt(n, tuple(k[:, :n] for k in self._keys), tuple(v[:, :n] for v in self._values))


class ModelTeacher:
    """A model that reads each lesson, with its context, under its prompt. Each lesson is read alone and kept.

    Args:
        views, layers: what is kept of a forward.
        front: tokens that lessons begin with, up to some number: read once, if there is no prompt.
        max_bytes: limit of what is kept. Lessons that do not fit are read again each time.
        check: called before every forward; its exceptions propagate.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        prompt: Prompt | None,
        views: Sequence[View],
        layers: Sequence[int],
        max_bytes: int,
        front: Sequence[int] = (),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.model = model
        self.prompt = prompt
        self._views = views
        self._taps = [Tap("resid_post", layer) for layer in layers]
        self._check = check
        with torch.no_grad():
            self._compiled: CompiledPrompt | None = None if prompt is None else compile_prompt(model, prompt)
            self._front = _Front(model, front) if front and prompt is None else None
        self._kept = _Kept(max_bytes=max_bytes)

    @property
    def n_virtual(self) -> int:
        """Positions that the prompt takes."""
        return 0 if self.prompt is None else self.prompt.n_virtual

    def teaching(self, lesson: Lesson) -> Teaching:
        """What the model gives for a lesson; that of a student's sample is not kept."""
        return self.read(lesson) if lesson.is_sampled else self._kept.get(lesson, read=self.read)

    def read(self, lesson: Lesson) -> Teaching:
        """What the model gives for a text, which it reads."""
        logits, states = self._forward(lesson)
        return Teaching(views={view: distributions_of(logits, view=view) for view in self._views}, states=states)

    @torch.no_grad()
    def _forward(self, lesson: Lesson) -> tuple[Float[Tensor, "n vocab"], dict[int, Tensor]]:
        self._check()
        before = self._compiled if self._front is None else self._front.shared_with(lesson.teacher_ids)
        n_read = 0 if self._front is None or before is None else before.n_virtual
        ids = (*lesson.teacher_ids[n_read:], *lesson.target_ids[:-1])
        at = torch.arange(len(lesson.teacher_ids) - n_read - 1, len(ids))
        metadata = PackedMetadata([SequenceGroup(0, 1, len(ids), before)])
        states: dict[int, Tensor] = {}

        def keep(tap: Tap, rows: Tensor) -> None:
            assert tap.layer is not None
            states[tap.layer] = rows[at.to(rows.device)].float()

        additions = {} if self.prompt is None else compiler_of(self.prompt).additions(self.prompt)
        changes = prompt_changes([(0, len(ids), additions)])
        hooks = ForwardHooks(
            self.model.module, self.model.architecture, reads=self._taps, on_read=keep, changes=changes
        )
        with hooks:
            logits = self.model.forward(metadata, ids=torch.tensor(ids), positions=metadata.positions, logits_at=at)
        return logits, states


class FileTeacher:
    """The most probable tokens that a generate run has kept with its samples.

    Args:
        reader: of the dataset.
        views: of temperature 1, with at most as many tokens as the file has.
        max_bytes: limit of what is kept in memory.
    """

    def __init__(self, reader: TopTokensReader, *, views: Sequence[View], max_bytes: int) -> None:
        self._reader = reader
        self._views = views
        self._kept = _Kept(max_bytes=max_bytes)

    def teaching(self, lesson: Lesson) -> Teaching:
        """What is stored of the lesson's record."""
        return self._kept.get(lesson, read=self._read)

    def _read(self, lesson: Lesson) -> Teaching:
        row = self._reader.row(lesson.index)
        return Teaching(views={view: file_view(row, view=view, lesson=lesson) for view in self._views}, states={})


def file_view(row: TopTokens, *, view: View, lesson: Lesson) -> Distributions:
    """The stored distributions of a lesson's target tokens.

    Where the sample ended without an end-of-text token, the lesson has one more token than the stored ones that it shares; its
    distribution gives that token all probability.
    """
    k = view.top_k or row.top_ids.shape[1]
    log_probs, ids = torch.tensor(row.top_logprobs[:, :k]), torch.tensor(row.top_ids[:, :k])
    log_rest = (1 - log_probs.double().exp().sum(1)).clamp(min=MIN_REST).log().float()
    n_shared = shared_length(row, lesson.target_ids)
    log_probs, ids, log_rest = log_probs[:n_shared], ids[:n_shared], log_rest[:n_shared]
    n_own = len(lesson.target_ids) - n_shared
    if n_own:
        only = torch.full((n_own, k), float("-inf"))
        only[:, 0] = 0.0
        token = torch.full((n_own, k), -1, dtype=ids.dtype)
        token[:, 0] = torch.tensor(lesson.target_ids[n_shared:], dtype=ids.dtype)
        log_probs, ids = torch.cat([log_probs, only]), torch.cat([ids, token])
        log_rest = torch.cat([log_rest, torch.full((n_own,), float("-inf"))])
    return Distributions(log_probs=log_probs, ids=ids, log_rest=log_rest)


def shared_length(row: TopTokens, target_ids: Sequence[int]) -> int:
    """Number of first tokens that a stored sample and a target have in common."""
    pairs = zip(row.ids.tolist(), target_ids, strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(row), len(target_ids)))
