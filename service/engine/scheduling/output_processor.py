"""Output processor: the deltas of a row (text, tokens, log-probabilities), and its end by a stop string."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from service.engine.model.detokenizer import REPLACEMENT, Detokenizer
from service.engine.requests import Delta, FinishReason, Generate, RankedToken, TokenLogprob
from service.engine.sampling.choice import token_logprobs
from service.engine.scheduling.sequence import SequenceState
from service.engine.scheduling.text_offsets import TextOffsets
from service.engine.scheduling.text_stream import n_unfinished
from service.engine.shapes import Float, Tensor


class OutputProcessor:
    """Makes deltas of the rows' tokens. Without a tokenizer, texts are empty."""

    def __init__(self, detokenizer: Detokenizer | None) -> None:
        self._detokenizer = detokenizer

    def take_token(self, row: SequenceState, token: int) -> FinishReason | None:
        """Add a chosen token to the text, if the text is needed before the end; returns "stop" if it completes a stop string."""
        request = row.request_state.request
        if row.text is None or not isinstance(request, Generate) or not (request.stream or request.stop):
            return None
        row.text.push(token)
        return "stop" if row.text.stopped else None

    def score_input(self, row: SequenceState, logits: Float[Tensor, "new vocab"], *, begin: int) -> None:
        """Report log-probabilities of the input's tokens. Position p predicts token p + 1; the first token has none."""
        following = row.ids[begin + 1 : min(begin + 1 + len(logits), row.n_input)]
        logits = logits[: len(following)]
        if row.echoes_logprobs:
            self._echo_logprobs(row, logits, following=following, is_first=begin == 0)
        request = row.request_state.request
        if row.prompt_logprobs is not None and isinstance(request, Generate):
            row.prompt_logprobs += self._ranked(logits, following=following, n_top=request.prompt_logprobs or 0)

    def _echo_logprobs(
        self, row: SequenceState, logits: Float[Tensor, "new vocab"], *, following: Sequence[int], is_first: bool
    ) -> None:
        n_top = self._n_top(row)
        if is_first:
            self._append(row, row.ids[0], None, ())
        if not following:
            return
        logprobs, top_ids, top = token_logprobs(logits, torch.tensor(following, device=logits.device), n_top)
        for token, logprob, ids, values in zip(
            following, logprobs.tolist(), top_ids.tolist(), top.tolist(), strict=True
        ):
            self._append(row, token, logprob, list(zip(ids, values, strict=True)))

    def score_token(self, row: SequenceState, token: int, logprob: float, top: Sequence[tuple[int, float]]) -> None:
        """Report the log-probability of a generated token, which is not in the row yet, and of its alternatives."""
        request = row.request_state.request
        if row.n_generated == 0 and row.offsets is not None and isinstance(request, Generate):
            row.offsets.move_to(len(self._input_text(row, request)))
        self._append(row, token, logprob, top)

    def deltas(self, row: SequenceState) -> Iterator[Delta]:
        """New text, tokens and log-probabilities since the last call; nothing before the row's end unless it is streamed."""
        request = row.request_state.request
        assert isinstance(request, Generate)
        over = row.finish_reason is not None
        if row.n_read < row.n_input or row.is_reported or not (over or request.stream):
            return
        text = self._new_text(row, request, over=over)
        first = 0 if request.echo else row.n_input
        ids = tuple(row.ids[max(first, row.n_reported_ids) :])
        row.n_reported_ids = len(row.ids)
        logprobs, row.reported = tuple(row.reported), []
        row.is_reported = over
        if text or ids or over:
            scored, row.prompt_logprobs = row.prompt_logprobs, None
            ranked, row.top_tokens = row.top_tokens, []
            yield Delta(
                request_id=request.request_id,
                row=row.index,
                text=text,
                token_ids=ids,
                logprobs=logprobs,
                prompt_logprobs=None if scored is None else tuple(scored),
                top_tokens=_stacked(ranked) if ranked else None,
            )

    def _new_text(self, row: SequenceState, request: Generate, *, over: bool) -> str:
        echoed = self._input_text(row, request) if request.echo and row.n_reported_ids == 0 else ""
        if row.text is None:
            return echoed
        if over:
            if not (request.stream or request.stop):
                row.text.extend(row.ids[row.n_input :])
            row.text.finish()
        text = row.text.text
        echoed = echoed[: len(echoed) - n_unfinished(echoed)]  # the output repeats an incomplete character of the input
        new, row.text_length = text[row.text_length :], len(text)
        return echoed + new

    def _input_text(self, row: SequenceState, request: Generate) -> str:
        """The input as given, or decoded."""
        if request.messages is None and isinstance(given := request.inputs[row.index // request.n], str):
            return given
        return self._detokenizer.decode(row.ids[: row.n_input]) if self._detokenizer is not None else ""

    def _ranked(
        self, logits: Float[Tensor, "new vocab"], *, following: Sequence[int], n_top: int
    ) -> Iterator[tuple[RankedToken, ...]]:
        if not following:
            return
        chosen = torch.tensor(following, device=logits.device)
        logprobs, top_ids, top = token_logprobs(logits, chosen, n_top)
        # As in vLLM, tokens of equal probability share the largest of their ranks.
        ranks = (logits.float() >= logits.float().gather(1, chosen[:, None])).sum(dim=-1)
        columns = (following, logprobs.tolist(), ranks.tolist(), top_ids.tolist(), top.tolist())
        for token, logprob, rank, ids, values in zip(*columns, strict=True):
            best = [(t, value, i + 1) for i, (t, value) in enumerate(zip(ids, values, strict=True)) if t != token]
            yield tuple(
                RankedToken(token_id=t, text=self._token_text(t), logprob=value, rank=r)
                for t, value, r in [(token, logprob, rank), *best]
            )

    def _token_text(self, token_id: int) -> str:
        return self._detokenizer.token_text(token_id) if self._detokenizer is not None else ""

    def _n_top(self, row: SequenceState) -> int:
        request = row.request_state.request
        return (request.logprobs or 0) if isinstance(request, Generate) else 0

    def _append(self, row: SequenceState, token: int, logprob: float | None, top: Sequence[tuple[int, float]]) -> None:
        if self._detokenizer is None:
            alternatives = tuple((i, "", value) for i, value in top)
            row.reported.append(TokenLogprob(token_id=token, text="", text_offset=0, logprob=logprob, top=alternatives))
            return
        if row.offsets is None:
            row.offsets = TextOffsets(self._detokenizer, before=() if row.echoes_logprobs else row.input_ids)
        texts = {i: row.offsets.text_of(i) for i in (token, *(i for i, _ in top))}
        row.reported.append(
            TokenLogprob(
                token_id=token,
                text=texts[token],
                text_offset=row.offsets.add(token),
                logprob=logprob,
                top=tuple((i, texts[i], value) for i, value in top),
                partial=self._partial(texts),
            )
        )

    def _partial(self, texts: Mapping[int, str]) -> dict[int, bytes]:
        """The bytes of the tokens that are a part of a character."""
        assert self._detokenizer is not None
        found = {i: self._detokenizer.token_bytes(i) for i, text in texts.items() if REPLACEMENT in text}
        return {i: data for i, data in found.items() if data != texts[i].encode()}


def _stacked(tokens: Sequence[tuple[float, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    logprobs, ids, tops = zip(*tokens, strict=True)
    return torch.tensor(logprobs, dtype=torch.float32), torch.stack(ids).int(), torch.stack(tops)
