"""Incremental detokenization: the text of one row, token by token.

Text is sent once no later token can change it. A character whose bytes are incomplete, and a tail that may become a stop
string, are held back. Only a window of the last tokens is decoded, so the cost of a token does not grow with the text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from transformers import PreTrainedTokenizerFast

from service.engine.model.detokenizer import REPLACEMENT, Detokenizer

N_WINDOW = 24
"""The window is cut when it reaches this many tokens …"""

N_CONTEXT = 8
"""… to about this many. They determine the next token's leading space, and contain any incomplete character whole."""

N_CHARACTER = 4
"""The maximum number of bytes, and so of tokens, of one character."""


class TextStream:
    """The text of one row while it grows.

    Without stop strings, the text after ``finish()`` equals the decoded text of all tokens after the input's text.

    Args:
        tokenizer: a fast tokenizer, or its Detokenizer, which is cheaper for many rows.
        stop: strings that end the text; the one that is complete first wins.
        input_ids: the tokens before the first pushed one; they determine whether its leading space is kept.
        hidden_ids: tokens without text, in addition to those of the detokenizer.
        min_tokens: a stop string ends the text only if it is complete after more tokens than these.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast | Detokenizer,
        *,
        stop: tuple[str, ...] = (),
        input_ids: Sequence[int] = (),
        hidden_ids: Collection[int] = (),
        min_tokens: int = 0,
    ) -> None:
        self._detokenizer = tokenizer if isinstance(tokenizer, Detokenizer) else Detokenizer(tokenizer)
        self._stop = tuple(text for text in stop if text)
        self._hidden_ids = frozenset(hidden_ids)
        self._min_tokens = min_tokens
        self._n_pushed = 0
        self._window = self._context(input_ids)
        self._n_sent_ids = len(self._window)
        # The part of the window's text that has been sent, or was in the input. An incomplete character at the end of the
        # input is not part of it: it belongs to the token that completes it.
        text = self._detokenizer.decode(self._window)
        self._sent = text[: len(text) - n_unfinished(text)]
        self._held = ""
        self._parts: list[str] = []
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """A stop string has appeared; only the text before it is sent."""
        return self._stopped

    @property
    def text(self) -> str:
        """All the text sent so far."""
        return "".join(self._parts)

    def push(self, token_id: int) -> str:
        """Add a token; returns the new text that no later token can change, which may be empty."""
        self._n_pushed += 1
        if self._stopped or not self._is_text(token_id):
            return ""
        self._window.append(token_id)
        new = self._certain()
        if len(self._window) % N_WINDOW == 0:
            self._cut_window()
        return self._send(new)

    def extend(self, token_ids: Sequence[int]) -> None:
        """Add tokens whose text is not needed before ``finish()``; for rows without stop strings."""
        self._window += [token_id for token_id in token_ids if self._is_text(token_id)]

    def finish(self) -> str:
        """End the text; returns the text that was held back, up to a stop string if it contains one."""
        if self._stopped:
            return ""
        text = self._detokenizer.decode(self._window)
        rest = text[len(self._sent) :] if text.startswith(self._sent) else self._unsent_alone()
        self._sent = text
        self._n_sent_ids = len(self._window)
        return self._send(rest, is_last=True)

    def token_text(self, token_id: int) -> str:
        """The text of one token inside a text."""
        return self._detokenizer.token_text(token_id)

    def _is_text(self, token_id: int) -> bool:
        return token_id not in self._hidden_ids and self._detokenizer.is_text(token_id)

    def _context(self, input_ids: Sequence[int]) -> list[int]:
        """The last few text tokens of an input; more of them if they decode to nothing."""
        context: list[int] = []
        for token_id in reversed(input_ids):
            if self._detokenizer.is_text(token_id):
                context.insert(0, token_id)
                if len(context) >= N_WINDOW or (len(context) >= N_CONTEXT and self._detokenizer.decode(context)):
                    break
        return context

    def _certain(self) -> str:
        """Unsent text of the window that no later token can change."""
        text = self._detokenizer.decode(self._window)
        if not text.startswith(self._sent):
            # The decoder rewrites text that has been sent. Wait for the rest of a character, then continue after that text.
            if len(self._window) - self._n_sent_ids < N_CHARACTER:
                return ""
            rest = self._unsent_alone()
            self._window = self._window[self._n_sent_ids :]
            self._sent, self._n_sent_ids = rest, len(self._window)
            return rest
        n_certain = len(text) - n_unfinished(text)
        new = text[len(self._sent) : n_certain]
        if n_certain == len(text):
            self._n_sent_ids = len(self._window)
        self._sent += new
        return new

    def _unsent_alone(self) -> str:
        return self._detokenizer.decode(self._window[self._n_sent_ids :])

    def _cut_window(self) -> None:
        """Keep a short tail that decodes to the same text, part of which has been sent."""
        text = self._detokenizer.decode(self._window)
        if not text.startswith(self._sent):
            return
        n_unsent = len(text) - len(self._sent)
        last = len(self._window) - N_CONTEXT
        for start in range(last, last - N_CONTEXT, -1):
            tail = self._detokenizer.decode(self._window[start:])
            if text.endswith(tail) and len(tail) > n_unsent:
                self._window = self._window[start:]
                self._n_sent_ids = max(self._n_sent_ids - start, 0)
                self._sent = tail[: len(tail) - n_unsent]
                return

    def _send(self, new: str, *, is_last: bool = False) -> str:
        text = self._held + new
        # The held text has been searched, or precedes min_tokens: a stop string must end after it.
        may_stop = self._n_pushed > self._min_tokens
        end = _stop_start(text, self._stop, after=len(self._held)) if may_stop else None
        if end is not None:
            self._stopped = True
        elif is_last:
            end = len(text)
        else:
            end = len(text) - _n_maybe_stop(text, self._stop)
        self._held = "" if self._stopped else text[end:]
        if end:
            self._parts.append(text[:end])
        return text[:end]


def n_unfinished(text: str) -> int:
    """Number of characters at the end that may be the first bytes of a character."""
    n = 0
    while n < min(N_CHARACTER - 1, len(text)) and text[-1 - n] == REPLACEMENT:
        n += 1
    return n


def _stop_start(text: str, stop: tuple[str, ...], *, after: int) -> int | None:
    """Start of the stop string that is complete first; of several complete at once, of the one that starts first.

    after: only strings that end after this many characters count.
    """
    starts = ((one, text.find(one, max(0, after - len(one) + 1))) for one in stop)
    found = [(start + len(one), start) for one, start in starts if start >= 0]
    return min(found)[1] if found else None


def _n_maybe_stop(text: str, stop: tuple[str, ...]) -> int:
    """Length of the longest suffix of the text that is a prefix of a stop string."""
    longest = 0
    for one in stop:
        for n in range(min(len(one) - 1, len(text)), longest, -1):
            if one.startswith(text[-n:]):
                longest = n
                break
    return longest
