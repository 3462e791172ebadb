"""Last-token states of a middle block: the service and the engine against a forward of transformers and readers with a stop."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.contests.smollm2.model import LABEL, load_exact, load_plain, model_folder
from benchmarks.contests.smollm2.texts import story_texts
from benchmarks.measuring.batches import fastest
from benchmarks.measuring.contest import Agreement, Contest, Goal, Side, speedup
from benchmarks.measuring.rounding import within_rounding
from benchmarks.sides.captures import (
    Reader,
    hidden_states_reader,
    nnsight_is_installed,
    nnsight_reader,
    read_all,
    stopping_hook_reader,
)
from benchmarks.sides.line_process import LineProcess, version_in
from benchmarks.sides.service import CaptureService, serving_folder
from service.engine.requests import CaptureSpec

ROOT: Final = Path(__file__).resolve().parents[3]
ENVIRONMENT: Final = ROOT / ".venv-clients"
SCRIPT: Final = ROOT / "benchmarks" / "environments" / "lens_process.py"
HTTP, FORWARD, HOOK, NNSIGHT, LENS = "HTTP", "forward", "stopping hook", "nnsight", "TransformerLens"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Texts of equal length. layer: the block whose output is read, counted from 0."""

    n_texts: int = 256
    n_tokens: int = 128
    layer: int = 15
    batches: tuple[int, ...] = (4, 8, 16, 32)
    n_checked: int = 64

    @property
    def label(self) -> str:
        """Name of the tensor."""
        return f"resid_post.{self.layer}"


FULL = Size()
QUICK = replace(FULL, n_texts=8, n_tokens=16, batches=(4, 8), n_checked=8)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """All sides, each baseline with its best batch size. Needs ``http``."""
    if not http:
        raise ValueError("this contest is about HTTP: expected http=True.")
    texts = story_texts(size.n_texts, shortest=size.n_tokens, longest=size.n_tokens, seed=7)
    spec = CaptureSpec(sites=("resid_post",), layers=(size.layer,), positions="last")
    with contextlib.ExitStack() as stack:
        readers, notes = _readers(load_plain(), layer=size.layer), []
        if (ENVIRONMENT / ".ready").exists():
            readers[LENS] = stack.enter_context(_lens(size.layer))
            notes.append(f"TransformerLens {version_in(ENVIRONMENT, 'transformer-lens')}.")
        chosen = {name: (read, fastest(_on_some(read, texts), size.batches)) for name, read in readers.items()}
        url = stack.enter_context(serving_folder(model_folder(), dtype="bfloat16"))
        service = stack.enter_context(CaptureService.connect(url))
        sides = [Side(name=HTTP, run=lambda: service.capture(texts, spec=spec)[size.label])]
        sides += [Side(name=name, run=_run(read, texts, n_batch=n)) for name, (read, n) in chosen.items()]
        yield Contest(
            name="smollm2-states",
            work=(
                f"Last-token state of block {size.layer} (counted from 0) of {size.n_texts} texts of {size.n_tokens} tokens; "
                f"{LABEL}."
            ),
            sides=sides,
            goals=_goals(readers),
            compare=lambda answers: compare(answers, texts, size=size),
            notes=[
                *notes,
                f"Texts a batch, the fastest of {size.batches}: "
                + ", ".join(f"{name} {n}" for name, (_, n) in chosen.items())
                + ".",
            ],
        )


def compare(answers: Mapping[str, Tensor], texts: Sequence[Sequence[int]], *, size: Size) -> list[Agreement]:
    """Errors of each side relative to the norm of a state, against those of the forward."""
    n = min(size.n_checked, len(texts))
    exact = read_all(hidden_states_reader(load_exact(), layer=size.layer), texts[:n], n_batch=4)
    norms = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
    return [
        within_rounding(
            f"{name} against {FORWARD}",
            answers[name][:n].float() / norms,
            plain=answers[FORWARD][:n].float() / norms,
            exact=exact / norms,
        )
        for name in answers
        if name != FORWARD
    ]


Read = Callable[[Sequence[Sequence[int]], int], Tensor]
"""Texts and their number a batch → states."""


def _readers(module: Any, *, layer: int) -> dict[str, Read]:
    readers = {
        FORWARD: hidden_states_reader(module, layer=layer),
        HOOK: stopping_hook_reader(module, layer=layer),
    }
    if nnsight_is_installed():
        readers[NNSIGHT] = nnsight_reader(load_plain(), layer=layer)
    return {name: _in_batches(reader) for name, reader in readers.items()}


def _in_batches(reader: Reader) -> Read:
    return lambda texts, n_batch: read_all(reader, texts, n_batch=n_batch)


@contextlib.contextmanager
def _lens(layer: int) -> Iterator[Read]:
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(model_folder()), str(torch.get_num_threads()), str(layer), folder]
        with LineProcess.start(ENVIRONMENT / "bin" / "python", SCRIPT, arguments) as process:

            def read(texts: Sequence[Sequence[int]], n_batch: int) -> Tensor:
                file = Path(process.ask(texts=[list(ids) for ids in texts], n_batch=n_batch))
                states = load_file(file)["states"]
                file.unlink()
                return states

            yield read


def _on_some(read: Read, texts: Sequence[Sequence[int]]) -> Callable[[int], Any]:
    part = texts[:64]
    return lambda n_batch: read(part, n_batch)


def _run(read: Read, texts: Sequence[Sequence[int]], *, n_batch: int) -> Callable[[], Tensor]:
    return lambda: read(texts, n_batch)


def _goals(readers: Mapping[str, Read]) -> list[Goal]:
    return [speedup(HTTP, FORWARD, at_least=3.0), *(speedup(HTTP, name) for name in readers if name != FORWARD)]
