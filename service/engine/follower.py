"""Ranks other than 0: a process that repeats the calls of rank 0 on its part of each model.

``python -m service.engine.follower`` is started by :func:`service.engine.parallel.ranks.start_ranks`. It ends with rank 0, whose
end closes its standard input.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from functools import singledispatchmethod
from pathlib import Path

import torch
import transformers

from service.engine.activations.logit_lens import TokenRanker
from service.engine.attention.batch_metadata import BatchMetadata
from service.engine.attention.kv_cache import CompiledPrompt, KVCache
from service.engine.attention.metadata import PackedMetadata, RecordingMetadata, SequenceGroup
from service.engine.attention.reads import AttentionReads
from service.engine.attention.spans import Span
from service.engine.model.hooks import ForwardHooks, StopForward
from service.engine.model.hosted_model import HostedModel
from service.engine.model.layers.partial_mlp import PartialMLP
from service.engine.model.loading import load_part
from service.engine.model.sites import Tap
from service.engine.parallel.division import Division
from service.engine.parallel.messages import (
    BatchTokens,
    CheckLens,
    CollectPrompt,
    CompilePrompt,
    ForgetPrompts,
    Forward,
    LoadModel,
    LoadPrompts,
    Message,
    MoveSlot,
    ReadLens,
    ReadPrompt,
    ReadVocabulary,
    ResizeCache,
    SequenceTokens,
)
from service.engine.parallel.ranks import Place, join, read_frames
from service.engine.prompts.prompt import from_tensors
from service.engine.prompts.registry import compile_prompt, virtual_states
from service.engine.shapes import Tensor
from service.errors import AtlasError

FAILED = 1
_PATIENCE_S = 30.0
"""How long rank 0 has to report the error that both have met, before this process ends."""


class Follower:
    """One model in a rank other than 0. Its state is a function of the messages."""

    def __init__(self, message: LoadModel, *, rank: int) -> None:
        module, _ = load_part(Path(message.folder), label=message.name, dtype=message.dtype, size=message.size)
        self._division = Division(message.size, rank)
        self._model = HostedModel(message.name, module, None, revision="", division=self._division)
        self._cache = KVCache(self._model.kv_shape)
        self._prompts: dict[int, CompiledPrompt] = {}
        self._ranker = TokenRanker(self._model, detokenizer=None)

    @singledispatchmethod
    def run(self, message: Message) -> None:
        """Repeat one call of rank 0."""
        raise TypeError(f"expected a call, got {type(message).__name__}.")

    @run.register
    def _(self, message: ResizeCache) -> None:
        self._cache.resize(message.n_slots, message.width, keep=message.keep)

    @run.register
    def _(self, message: LoadPrompts) -> None:
        self._cache.load_prompts({self._prompts[number]: slots for number, slots in message.slots})

    @run.register
    def _(self, message: MoveSlot) -> None:
        self._cache.move(message.source, message.target, length=message.length)

    @run.register
    def _(self, message: CompilePrompt) -> None:
        prompt = from_tensors(message.tensors, where=message.where)
        self._prompts[message.number] = compile_prompt(self._model, prompt)

    @run.register
    def _(self, message: ReadPrompt) -> None:
        virtual_states(self._model, from_tensors(message.tensors, where=message.where), _taps(message.taps))

    @run.register
    def _(self, message: CollectPrompt) -> None:
        assert self._model.division is not None
        self._model.division.whole_prompt(self._prompts[message.number])

    @run.register
    def _(self, message: ForgetPrompts) -> None:
        for number in message.numbers:
            del self._prompts[number]

    @run.register
    def _(self, message: CheckLens) -> None:
        self._ranker.check_lens()

    @run.register
    def _(self, message: ReadLens) -> None:
        self._ranker.logits(message.states)

    @run.register
    def _(self, message: ReadVocabulary) -> None:
        self._model.vocabulary()

    @run.register
    def _(self, message: Forward) -> None:
        model, reads = self._model, _taps(message.reads)
        pending = _Pending(reads, stops=message.stops)
        metadata = self._metadata(message, reads=_attention_reads(reads, pending, model))
        hooks = ForwardHooks(
            model.module,
            model.architecture,
            reads=reads,
            on_read=pending.read,
            changes=dict.fromkeys(_taps(message.changed), ()),
        )
        mlp: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if message.mlp is not None:
            mlp = PartialMLP(model.architecture.mlps[message.mlp[0]], torch.tensor(message.mlp[1]))
        with mlp, hooks, contextlib.suppress(StopForward):
            model.forward(
                metadata,
                ids=message.ids,
                vectors=message.vectors,
                positions=metadata.positions,
                logits_at=message.logits_at,
            )

    def _metadata(
        self, message: Forward, *, reads: AttentionReads | None
    ) -> BatchMetadata | PackedMetadata | RecordingMetadata:
        tokens = message.tokens
        if isinstance(tokens, BatchTokens):
            spans = [
                Span(slot, offset, begin, end, self._prompt(number))
                for slot, offset, begin, end, number in tokens.spans
            ]
            return BatchMetadata(self._cache, spans, n_decode=tokens.n_decode, reads=reads)
        if isinstance(tokens, SequenceTokens):
            groups = [
                SequenceGroup(offset, n_rows, length, self._prompt(number))
                for offset, n_rows, length, number in tokens.groups
            ]
            return PackedMetadata(groups, reads=reads)
        return RecordingMetadata(tokens.n_tokens, reads=reads)

    def _prompt(self, number: int | None) -> CompiledPrompt | None:
        return None if number is None else self._prompts[number]


class _Pending:
    """Stops the forward where rank 0 stops: after the last of the taps that it reads."""

    def __init__(self, taps: Sequence[Tap], *, stops: bool) -> None:
        self._taps = set(taps)
        self._stops = stops

    def read(self, tap: Tap, rows: Tensor) -> None:
        self.finish(tap)

    def finish(self, tap: Tap) -> None:
        self._taps.discard(tap)
        if self._stops and not self._taps:
            raise StopForward


def _attention_reads(taps: Sequence[Tap], pending: _Pending, model: HostedModel) -> AttentionReads | None:
    assert model.division is not None
    layers: dict[str, frozenset[int]] = {}
    for tap in taps:
        if tap.is_reported and tap.layer is not None:
            layers[tap.kind] = layers.get(tap.kind, frozenset()) | {tap.layer}
    if not layers:
        return None
    return AttentionReads(
        layers,
        sink=lambda site, layer, offset, rows: None,
        on_done=lambda site, layer: pending.finish(Tap(site, layer)),
        whole=model.division.whole_rows_of_heads,
    )


def _taps(keys: Sequence[tuple[str, int | None, str | None]]) -> tuple[Tap, ...]:
    return tuple(Tap(*key) for key in keys)


def serve(place: Place, received: queue.Queue[tuple[int, Message]]) -> None:
    """Repeat the calls of rank 0, in order."""
    models: list[Follower] = []
    while True:
        number, message = received.get()
        if isinstance(message, LoadModel):
            models.append(Follower(message, rank=place.rank))
        else:
            with torch.inference_mode():
                models[number].run(message)


def main(arguments: Sequence[str]) -> None:
    """Join the group and repeat the calls of rank 0 until its end.

    Args:
        arguments: those of the :class:`Place`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes; rank 0 decides
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    place = Place.of_arguments(arguments)
    received: queue.Queue[tuple[int, Message]] = queue.Queue()
    threading.Thread(target=_receive, args=(received,), daemon=True).start()
    join(place)
    try:
        serve(place, received)
    except AtlasError as error:
        # Rank 0 has met it too, most likely: it reports it and ends this process.
        print(f"rank {place.rank}: {error.detail}", file=sys.stderr)
        threading.Event().wait(_PATIENCE_S)
    os._exit(FAILED)


def _receive(received: queue.Queue[tuple[int, Message]]) -> None:
    for message in read_frames(sys.stdin.buffer):
        received.put(message)
    # Rank 0 has ended. The main thread may wait for it inside a forward.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
