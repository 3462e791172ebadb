"""Leader of one divided model, in rank 0: sends each call to the other ranks before rank 0 runs it too."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from service.engine.attention.batch_metadata import BatchMetadata
from service.engine.attention.kv_cache import CompiledPrompt, KVCache, KVShape
from service.engine.attention.metadata import PackedMetadata, RecordingMetadata
from service.engine.parallel.messages import (
    BatchTokens,
    ForgetPrompts,
    Forward,
    LoadPrompts,
    Message,
    MoveSlot,
    RecordedTokens,
    ResizeCache,
    SequenceTokens,
    TapKey,
)
from service.engine.shapes import Tensor


class Followers(Protocol):
    """The other ranks, as a leader uses them."""

    def send(self, model: int, message: Message) -> None: ...
    def lost(self, reason: str) -> None: ...


class Tapped(Protocol):
    """The fields of a tap."""

    @property
    def kind(self) -> str: ...
    @property
    def layer(self) -> int | None: ...
    @property
    def path(self) -> str | None: ...


class Leader:
    """Sends the calls of one model.

    Args:
        model: its number.
    """

    def __init__(self, followers: Followers, model: int) -> None:
        self._followers = followers
        self._model = model
        self._is_calling = False
        self._n_prompts = 0
        self._numbers: dict[int, int] = {}  # by id of the compiled prompt
        self._dropped: list[tuple[int, int]] = []

    @contextlib.contextmanager
    def call(self, build: Callable[[Leader], Message]) -> Iterator[None]:
        """Send a message, then run the same in this process. Calls inside it are part of it and are not sent.

        An error inside leaves the ranks at different places of the model, so the process ends.
        """
        if self._is_calling:
            yield
            return
        self._forget()
        self._followers.send(self._model, build(self))
        self._is_calling = True
        try:
            yield
        except BaseException as error:
            self._followers.lost(f"a call failed in rank 0: {type(error).__name__}: {error}")
            raise
        finally:
            self._is_calling = False

    def forward(
        self,
        metadata: object,
        *,
        ids: Tensor | None = None,
        vectors: Tensor | None = None,
        logits_at: Tensor | None = None,
        reads: Sequence[Tapped] = (),
        changed: Sequence[Tapped] = (),
        stops: bool = False,
        mlp: tuple[int, tuple[int, ...]] | None = None,
    ) -> Forward:
        """The message of a forward, see :class:`Forward`."""
        return Forward(
            tokens=self._tokens(metadata),
            ids=ids,
            vectors=vectors,
            logits_at=logits_at,
            reads=tap_keys(reads),
            changed=tap_keys(changed),
            stops=stops,
            mlp=mlp,
        )

    def next_number(self) -> int:
        """Number of the prompt that is compiled next."""
        return self._n_prompts

    def keep(self, prompt: CompiledPrompt) -> None:
        """Give a compiled prompt the next number. The other ranks drop theirs when this one is no longer used."""
        number, key = self._n_prompts, id(prompt)
        self._n_prompts += 1
        self._numbers[key] = number
        # Sent with the next call: the garbage collector may run this in the middle of one.
        weakref.finalize(prompt, self._dropped.append, (key, number)).atexit = False

    def number_of(self, prompt: CompiledPrompt) -> int:
        """Number of a compiled prompt."""
        return self._numbers[id(prompt)]

    def _forget(self) -> None:
        if not self._dropped:
            return
        dropped = [self._dropped.pop() for _ in range(len(self._dropped))]
        for key, number in dropped:
            if self._numbers.get(key) == number:  # the id may belong to a newer prompt by now
                del self._numbers[key]
        self._followers.send(self._model, ForgetPrompts(tuple(sorted(number for _, number in dropped))))

    def _tokens(self, metadata: object) -> BatchTokens | SequenceTokens | RecordedTokens:
        if isinstance(metadata, BatchMetadata):
            spans = ((s.slot, s.offset, s.begin, s.end, self._number(s.prompt)) for s in metadata.spans)
            return BatchTokens(tuple(spans), metadata.n_decode)
        if isinstance(metadata, PackedMetadata):
            groups = ((g.offset, g.n_rows, g.length, self._number(g.prompt)) for g in metadata.groups)
            return SequenceTokens(tuple(groups))
        if isinstance(metadata, RecordingMetadata):
            return RecordedTokens(len(metadata.positions))
        raise TypeError(f"expected attention metadata that other ranks can rebuild, got {type(metadata).__name__}.")

    def _number(self, prompt: CompiledPrompt | None) -> int | None:
        return None if prompt is None else self.number_of(prompt)


@contextlib.contextmanager
def announced(leader: Leader | None, build: Callable[[Leader], Message]) -> Iterator[None]:
    """``leader.call``, or nothing for a model that one process has."""
    if leader is None:
        yield
        return
    with leader.call(build):
        yield


def tap_keys(taps: Sequence[Tapped]) -> tuple[TapKey, ...]:
    """Taps as they are sent."""
    return tuple((tap.kind, tap.layer, tap.path) for tap in taps)


class DividedCache(KVCache):
    """The cache of rank 0's heads, whose edits the other ranks repeat on theirs."""

    def __init__(self, shape: KVShape, *, leader: Leader) -> None:
        super().__init__(shape)
        self._leader = leader

    def resize(self, n_slots: int, width: int, *, keep: Sequence[int]) -> None:
        """As :meth:`KVCache.resize`, in all ranks."""
        with self._leader.call(lambda _: ResizeCache(n_slots, width, tuple(keep))):
            super().resize(n_slots, width, keep=keep)

    def load_prompts(self, slots: Mapping[CompiledPrompt, Sequence[int]]) -> None:
        """As :meth:`KVCache.load_prompts`, in all ranks."""
        if not slots:
            return
        sent = LoadPrompts(tuple((self._leader.number_of(prompt), tuple(rows)) for prompt, rows in slots.items()))
        with self._leader.call(lambda _: sent):
            super().load_prompts(slots)

    def move(self, source: int, target: int, *, length: int) -> None:
        """As :meth:`KVCache.move`, in all ranks."""
        with self._leader.call(lambda _: MoveSlot(source, target, length)):
            super().move(source, target, length=length)
