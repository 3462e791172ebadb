"""llama.cpp as a process: a line of JSON with rows of token ids on the standard input, a line with new tokens as the answer.

``python llama_process.py MODEL N_THREADS``, with the interpreter of the environment of ``make llama``. Needs nothing of this
project. Greedy; nothing ends early.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np

N_BATCH = 2048
N_UBATCH = 512


class Llama:
    """One model, and a context for each number of parallel sequences and length."""

    def __init__(self, path: str, *, n_threads: int) -> None:
        llama_cpp.llama_backend_init()
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self._model = llama_cpp.llama_model_load_from_file(path.encode(), parameters)
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self._n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._n_threads = n_threads
        self._contexts: dict[tuple[int, int], Any] = {}
        self._batch = llama_cpp.llama_batch_init(N_BATCH, 0, 1)

    def complete(self, rows: Sequence[Sequence[int]], *, n_new: int, n_parallel: int) -> list[list[int]]:
        """New tokens of each row; ``n_parallel`` rows at a time."""
        n_parallel = min(n_parallel, len(rows))
        context = self._context(n_parallel, max(map(len, rows)) + n_new)
        found: list[list[int]] = []
        for begin in range(0, len(rows), n_parallel):
            found += self._wave(context, rows[begin : begin + n_parallel], n_new=n_new)
        return found

    def _wave(self, context: Any, rows: Sequence[Sequence[int]], *, n_new: int) -> list[list[int]]:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        tokens = [[token] for token in self._prefill(context, rows)]
        for _ in range(n_new - 1):
            for i, (row, new) in enumerate(zip(rows, tokens, strict=True)):
                self._put(i, new[-1], position=len(row) + len(new) - 1, sequence=i, wants_logits=True)
            self._decode(context, len(rows))
            for i, new in enumerate(tokens):
                new.append(self._best(context, i))
        return tokens

    def _prefill(self, context: Any, rows: Sequence[Sequence[int]]) -> list[int]:
        first: dict[int, int] = {}
        entries = [(token, position, i) for i, row in enumerate(rows) for position, token in enumerate(row)]
        for begin in range(0, len(entries), N_BATCH):
            part = entries[begin : begin + N_BATCH]
            ends = {}
            for at, (token, position, i) in enumerate(part):
                is_last = position == len(rows[i]) - 1
                self._put(at, token, position=position, sequence=i, wants_logits=is_last)
                if is_last:
                    ends[i] = at
            self._decode(context, len(part))
            first |= {i: self._best(context, at) for i, at in ends.items()}
        return [first[i] for i in range(len(rows))]

    def _put(self, at: int, token: int, *, position: int, sequence: int, wants_logits: bool) -> None:
        batch = self._batch
        batch.token[at], batch.pos[at] = token, position
        batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
        batch.logits[at] = wants_logits

    def _decode(self, context: Any, n_tokens: int) -> None:
        self._batch.n_tokens = n_tokens
        status = llama_cpp.llama_decode(context, self._batch)
        if status != 0:
            raise RuntimeError(f"llama_decode: expected 0, got {status}")

    def _best(self, context: Any, at: int) -> int:
        pointer = llama_cpp.llama_get_logits_ith(context, at)
        return int(np.ctypeslib.as_array(pointer, shape=(self._n_vocab,)).argmax())

    def _context(self, n_parallel: int, n_tokens: int) -> Any:
        if (n_parallel, n_tokens) not in self._contexts:
            parameters = llama_cpp.llama_context_default_params()
            parameters.n_ctx = n_parallel * (-(-n_tokens // 256) * 256)
            parameters.n_batch, parameters.n_ubatch = N_BATCH, N_UBATCH
            parameters.n_seq_max = n_parallel
            parameters.n_threads = parameters.n_threads_batch = self._n_threads
            context = llama_cpp.llama_init_from_model(self._model, parameters)
            if not context:
                raise RuntimeError(f"llama.cpp has no context for {n_parallel} sequences")
            self._contexts[n_parallel, n_tokens] = context
        return self._contexts[n_parallel, n_tokens]


def _silent(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """Its messages are about loading."""


def main() -> None:
    """Answer each line of the standard input."""
    silent = llama_cpp.llama_log_callback(_silent)  # kept as long as the library may call it
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama = Llama(sys.argv[1], n_threads=int(sys.argv[2]))
    for line in sys.stdin:
        print(json.dumps(llama.complete(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
