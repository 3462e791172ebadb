"""Token ids to text, token by token.

A row's text grows by what is certain: a character whose bytes are still coming, and a tail that may become a stop
string, are held back. Only a short window of the last tokens is ever decoded, so a token costs the same however long
the text has become.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that are no character, or not yet."""

N_WINDOW = 24
"""The window is cut when it has grown to this many tokens …"""

N_CONTEXT = 8
"""… down to about this many. They tell how the next one joins on, and hold any unfinished character whole."""

N_CHARACTER = 4
"""The most bytes, and so tokens, of one character."""


class Detokenizer:
    """What the text of any row needs to know about a tokenizer; make one for a model.

    Special tokens, and ids that no token has, are no text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._backend = tokenizer.backend_tokenizer
        added = self._backend.get_added_tokens_decoder()
        self._special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        self._n_ids = self._backend.get_vocab_size(with_added_tokens=True)
        self._anchor = self._find_anchor()
        self._texts: dict[int, str] = {}

    def is_text(self, token_id: int) -> bool:
        """Whether the token adds to the text."""
        return token_id not in self._special_ids and self._backend.id_to_token(token_id) is not None

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a whole sequence, special tokens left out."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=True))

    def token_text(self, token_id: int) -> str:
        """The text of one token as it stands inside a text: with its leading space, and special tokens written out.

        Bytes that are no whole character come as U+FFFD, an id that no token has as nothing.
        """
        if token_id not in self._texts:
            self._texts[token_id] = self._token_text(token_id)
        return self._texts[token_id]

    def _token_text(self, token_id: int) -> str:
        if token_id in self._special_ids:
            return str(self._backend.id_to_token(token_id))
        if self._anchor is not None:
            # At the start of a text some decoders drop a space; after another token none does.
            before, both = self.decode([self._anchor]), self.decode([self._anchor, token_id])
            if both.startswith(before):
                return both[len(before) :]
        return self.decode([token_id])

    def _find_anchor(self) -> int | None:
        """Some token that is plain letters wherever it stands."""
        for token_id in range(self._n_ids):
            if self.is_text(token_id):
                text = self.decode([token_id])
                if text.isascii() and text.isalpha() and self.decode([token_id, token_id]).startswith(text):
                    return token_id
        return None


class TextStream:
    """One row's text as it grows.

    Without stop strings, the text after ``finish()`` is what decoding all tokens at once gives behind the input's text.
    The one exception: a tokenizer that falls back to single bytes rewrites a run of them as a whole once it holds a
    byte that is no text; characters sent by then stay.

    Args:
        tokenizer: a fast tokenizer, or its Detokenizer, which is cheaper for many rows.
        stop: strings that end the text; the one that is complete first wins.
        input_ids: the tokens before the first pushed one; they decide whether its leading space is kept.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast | Detokenizer,
        *,
        stop: tuple[str, ...] = (),
        input_ids: Sequence[int] = (),
    ) -> None:
        self._detokenizer = tokenizer if isinstance(tokenizer, Detokenizer) else Detokenizer(tokenizer)
        self._stop = tuple(text for text in stop if text)
        self._window = self._context(input_ids)
        self._n_sent_ids = len(self._window)
        # The part of the window's text that went out already, or was in the input. An unfinished character at the
        # input's end is not: it belongs to the token that finishes it.
        text = self._detokenizer.decode(self._window)
        self._sent = text[: len(text) - n_unfinished(text)]
        self._held = ""
        self._parts: list[str] = []
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """A stop string has appeared; the text before it is all that is ever sent."""
        return self._stopped

    @property
    def text(self) -> str:
        """All the text sent so far."""
        return "".join(self._parts)

    def push(self, token_id: int) -> str:
        """Take a token; return the new text that is certain, which may be empty."""
        if self._stopped or not self._detokenizer.is_text(token_id):
            return ""
        self._window.append(token_id)
        new = self._certain()
        if len(self._window) % N_WINDOW == 0:
            self._cut_window()
        return self._send(new)

    def extend(self, token_ids: Sequence[int]) -> None:
        """Take tokens whose text nobody needs before ``finish()``; for rows without stop strings."""
        self._window += [token_id for token_id in token_ids if self._detokenizer.is_text(token_id)]

    def finish(self) -> str:
        """At the end: return what was held back, up to a stop string if one is in it."""
        if self._stopped:
            return ""
        text = self._detokenizer.decode(self._window)
        rest = text[len(self._sent) :] if text.startswith(self._sent) else self._unsent_alone()
        self._sent = text
        self._n_sent_ids = len(self._window)
        return self._send(rest, is_last=True)

    def token_text(self, token_id: int) -> str:
        """The text of one token as it stands inside a text."""
        return self._detokenizer.token_text(token_id)

    def _context(self, input_ids: Sequence[int]) -> list[int]:
        """The last few text tokens of an input, more of them when they have no text of their own."""
        context: list[int] = []
        for token_id in reversed(input_ids):
            if self._detokenizer.is_text(token_id):
                context.insert(0, token_id)
                if len(context) >= N_WINDOW or (len(context) >= N_CONTEXT and self._detokenizer.decode(context)):
                    break
        return context

    def _certain(self) -> str:
        """Text of the window beyond what was sent, as far as no later token can change it."""
        text = self._detokenizer.decode(self._window)
        if not text.startswith(self._sent):
            # Bytes of an unfinished character make the decoder rewrite those before them; the character's last byte
            # sets that right. When it does not come, these were no characters: go on from them.
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
        """Keep a short tail that decodes to the same text, some of it already sent."""
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
        end = _stop_start(text, self._stop)
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
    """How many characters at the end may be a character's first bytes."""
    n = 0
    while n < min(N_CHARACTER - 1, len(text)) and text[-1 - n] == REPLACEMENT:
        n += 1
    return n


def _stop_start(text: str, stop: tuple[str, ...]) -> int | None:
    """Where the stop string begins that is complete first; of those complete together, the one that begins first."""
    found = [(start + len(one), start) for one in stop if (start := text.find(one)) >= 0]
    return min(found)[1] if found else None


def _n_maybe_stop(text: str, stop: tuple[str, ...]) -> int:
    """Length of the longest end of the text that begins a stop string."""
    longest = 0
    for one in stop:
        for n in range(min(len(one) - 1, len(text)), longest, -1):
            if one.startswith(text[-n:]):
                longest = n
                break
    return longest
