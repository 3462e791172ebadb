"""Tokenises records and texts, and reads the model's embeddings and states of their tokens.

Special tokens that the tokenizer adds (such as beginning of text) are read, since the states of other tokens depend on
them, but they are not points: the state of a first token can have a hundred times the norm of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Capture, CaptureSpec, Done, Failed, Limits
from service.engine.shapes import Float, Int, Tensor
from service.errors import NotFound
from service.map_sources.texts import without_sink
from service.store.datasets.items import Example

MAX_TEXT_TOKENS = 4096
"""Limit on the tokens read from each text; the model's context is another."""

_BATCH_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Token ids of one text. own: False for special tokens that the tokenizer added."""

    ids: tuple[int, ...]
    own: tuple[bool, ...]

    def cut(self, n: int) -> Tokens:
        """The first ``n`` tokens."""
        return Tokens(ids=self.ids[:n], own=self.own[:n])


class Reader:
    """Reads many texts per forward, with the model without a prompt."""

    def __init__(self, model: HostedModel) -> None:
        self._model = model
        self._longest = min(MAX_TEXT_TOKENS, model.n_positions)
        # The engine reads long texts in chunks over a cache, and short ones in one batch.
        limits = Limits(max_waiting=1 << 30, max_capture_bytes=1 << 40)
        self._engine = Engine(model, limits=limits, load_prompt=_no_prompt)

    def example(self, example: Example) -> Tokens:
        """Tokens of a record as in tuning: running text, or input and target, tokenised separately.

        The first token is not a point if it is an attention sink.
        """
        begin = self.text(example.text if example.text is not None else example.input or "")
        ids, own = begin.ids, begin.own
        if example.text is None:
            target = tuple(self._model.tokenizer(example.target or "", add_special_tokens=False)["input_ids"])
            ids, own = ids + target, own + (True,) * len(target)
        return Tokens(ids=ids, own=without_sink(own, is_sink=self._model.first_token_is_sink)).cut(self._longest)

    def text(self, text: str) -> Tokens:
        """Tokens of a text, with the special tokens that the tokenizer adds."""
        found = self._model.tokenizer(text, return_special_tokens_mask=True)
        ids, added = found["input_ids"], found["special_tokens_mask"]
        return Tokens(ids=tuple(ids), own=tuple(not flag for flag in added)).cut(self._longest)

    def embeddings(self, ids: Int[Tensor, " n"]) -> Float[Tensor, "n d_model"]:
        """Embeddings of token ids by the model's embedding module, as soft vectors replace them. float32 on the CPU."""
        with torch.no_grad():
            embedded: Tensor = self._model.architecture.embed(ids.to(self._model.device)[None])[0]
            return embedded.float().cpu()

    def states(self, texts: Iterable[Tokens], *, layer: int) -> Iterator[Float[Tensor, "n d_model"]]:
        """The residual stream above ``layer`` blocks for all own tokens, one bounded batch of texts after another."""
        budget = max(_BATCH_BYTES // (4 * self._model.d_model), self._longest)
        batch: list[Tokens] = []
        n_tokens = 0
        for tokens in texts:
            if batch and n_tokens + len(tokens.ids) > budget:
                yield self._capture(batch, layer=layer)
                batch, n_tokens = [], 0
            batch.append(tokens)
            n_tokens += len(tokens.ids)
        if batch:
            yield self._capture(batch, layer=layer)

    def _capture(self, batch: list[Tokens], *, layer: int) -> Float[Tensor, "n d_model"]:
        above_all = layer == self._model.architecture.n_layers
        site, at = ("resid_post", layer - 1) if above_all else ("resid_pre", layer)
        spec = CaptureSpec(sites=(site,), layers=(at,))
        self._engine.submit(Capture(request_id="points", inputs=tuple(t.ids for t in batch), capture=spec))
        while self._engine.has_work:
            for event in self._engine.step():
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Done):
                    result = event.result
        assert result is not None
        own = torch.tensor([flag for tokens in batch for flag in tokens.own])
        return result.tensors[f"{site}.{at}"][own]


def _no_prompt(sha256: str) -> Prompt:
    raise NotFound("expected a capture without a prompt.")
