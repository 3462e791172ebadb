"""Training in a separate process, to measure its memory: the model is loaded once, the training runs on demand."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType

import torch

from benchmarks.sides.processes import forget_peak, resident_bytes
from benchmarks.sides.tuning import Tuned

Training = Callable[[], Tuned]
"""Runs one training."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Result of a training, and resident memory of its process: with the model loaded, and at the peak."""

    tuned: Tuned
    loaded_bytes: int
    peak_bytes: int


class TrainingProcess:
    """Context manager of a child process that trains on each call of ``run``; Linux only.

    Args:
        prepare: importable; builds the model in the child and returns the training.
        n_threads: of torch in the child.
    """

    def __init__(self, prepare: Callable[[], Training], *, n_threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, prepare, n_threads), daemon=True)

    def __enter__(self) -> TrainingProcess:
        self._process.start()  # it gets ready while others start
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()

    def run(self) -> Measured:
        """Run one training.

        Raises:
            RuntimeError: the process is gone.
        """
        self._connection.send(None)
        return self._answer()

    def _answer(self) -> Measured:
        while not self._connection.poll(1.0):
            if not self._process.is_alive():
                raise RuntimeError(f"the training process ended with status {self._process.exitcode}.")
        answer: Measured = self._connection.recv()
        return answer


def _serve(connection: Connection, prepare: Callable[[], Training], n_threads: int) -> None:
    torch.set_num_threads(n_threads)
    train = prepare()
    loaded_bytes, _ = resident_bytes(os.getpid())
    while True:
        connection.recv()
        forget_peak(os.getpid())
        tuned = train()
        _, peak_bytes = resident_bytes(os.getpid())
        connection.send(Measured(tuned=tuned, loaded_bytes=loaded_bytes, peak_bytes=peak_bytes))
