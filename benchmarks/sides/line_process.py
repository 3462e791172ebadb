"""A program of another environment that answers one line of JSON with another."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

_STOP_S = 30.0


def version_in(environment: Path, package: str) -> str:
    """The version of a package in an environment.

    Raises:
        RuntimeError: it is not installed there.
    """
    folders = [str(folder) for folder in environment.glob("lib/python*/site-packages")]
    for found in importlib.metadata.distributions(name=package, path=folders):
        return found.version
    raise RuntimeError(f"expected {package} in {environment.name}, found none.")


class LineProcess:
    """A running program. ``ask`` waits for its answer without using a core."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextlib.contextmanager
    def start(cls, python: Path, script: Path, arguments: Sequence[str]) -> Iterator[LineProcess]:
        """Run a script with the interpreter of its environment, without network."""
        process = subprocess.Popen(
            [str(python), str(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())},
        )
        try:
            yield cls(process)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ask(self, **question: Any) -> Any:
        """The answer to a question.

        Raises:
            RuntimeError: the program ended; its messages are on the standard error.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the program has no pipes.")
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise RuntimeError(f"the program ended with status {self._process.wait()}.") from error
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the program ended with status {self._process.wait()}.")
        return json.loads(line)
