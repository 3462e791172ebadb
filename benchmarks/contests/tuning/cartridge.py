"""One cartridge for a document, against the training loop of PEFT's example, whose teacher runs in each step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.measuring.contest import Contest, Side, speedup
from benchmarks.measuring.tuned import tuned_alike
from benchmarks.sides.cartridges import CartridgeTask, keys_values_of, train_cartridge, train_with_peft
from benchmarks.sides.models import SHARP, LlamaSize, build_llama
from benchmarks.sides.workload import random_texts
from service.engine.model.hosted_model import HostedModel

ENGINE, PEFT = "engine", "PEFT's loop"


@dataclass(frozen=True, kw_only=True)
class Size:
    """A document, and texts of questions with their answers."""

    model: LlamaSize
    n_document: int = 512
    n_virtual: int = 64
    n_texts: int = 32
    shortest: int = 32
    longest: int = 128
    n_steps: int = 32

    def task(self, *, n_vocab: int) -> CartridgeTask:
        (document,) = random_texts(1, shortest=self.n_document, longest=self.n_document, n_vocab=n_vocab, seed=13)
        texts = random_texts(self.n_texts, shortest=self.shortest, longest=self.longest, n_vocab=n_vocab, seed=14)
        start = keys_values_of(build_llama(self.model, sharpness=SHARP), document[: self.n_virtual])
        return CartridgeTask(document=document, texts=texts, start=start, n_steps=self.n_steps)


FULL = Size(model=LlamaSize(d_model=512, n_layers=8, n_heads=8, n_kv_heads=4, d_mlp=1408, n_vocab=8_000))
QUICK = Size(
    model=LlamaSize(d_model=128, n_layers=4, n_heads=4, n_kv_heads=2, d_mlp=352, n_vocab=1_000), n_texts=16, n_steps=16
)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides; ``http`` has no effect."""
    task = size.task(n_vocab=size.model.n_vocab)
    hosted = HostedModel("benchmark", build_llama(size.model, sharpness=SHARP), None, revision="random")
    bare = build_llama(size.model, sharpness=SHARP)
    yield Contest(
        name="tuning-cartridge",
        work=(
            f"One cartridge of {size.n_virtual} positions, {task.n_frozen} of them frozen, for a document of "
            f"{size.n_document} tokens; {size.n_steps} steps of one text of {size.shortest} to {size.longest} tokens, "
            f"{size.n_texts} texts, top {task.k} tokens without the rest; {size.model}."
        ),
        sides=[
            Side(name=ENGINE, run=lambda: train_cartridge(hosted, task)),
            Side(name=PEFT, run=lambda: train_with_peft(bare, task)),
        ],
        goals=[speedup(ENGINE, PEFT, at_least=2.0)],
        compare=lambda answers: tuned_alike(f"{ENGINE} against {PEFT}", answers[ENGINE], answers[PEFT]),
        notes=[
            "Each run starts without readings of the teacher: it reads the document once, and each text once.",
            f"{PEFT} is without the checkpoints and logs of transformers' Trainer.",
        ],
    )
