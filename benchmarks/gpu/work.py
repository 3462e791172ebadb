"""The work that is timed: decode steps, steps that read inputs, training steps, switched prompts and captures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.floors import DeviceSpeed, median_s, synchronize
from benchmarks.gpu.shapes import kv_bytes, n_parameters
from benchmarks.sides.batch import StaticBatch
from benchmarks.sides.engine import EngineSide
from benchmarks.sides.models import LlamaSize
from benchmarks.sides.tuning import TuningTask, new_trainer, random_examples
from benchmarks.sides.workload import CompletionTask, random_texts, soft_prompts
from service.engine.model.hosted_model import HostedModel
from service.engine.requests import CaptureSpec, Limits

DECODE_GOAL, PREFILL_GOAL, TUNING_GOAL, CAPTURE_GOAL = 1.5, 1.6, 2.0, 1.05


@dataclass(frozen=True, kw_only=True)
class Load:
    """Rows of one length under soft prompts, and the training of some prompts.

    n_steps: timed decode steps. n_members, batch_size: prompts that are tuned together, and their examples in a step.
    """

    n_rows: int = 64
    n_text: int = 128
    n_virtual: int = 20
    n_prompts: int = 16
    n_steps: int = 32
    n_members: int = 8
    batch_size: int = 16

    def tasks(self, size: LlamaSize, *, n_prompts: int | None = None) -> list[CompletionTask]:
        texts = random_texts(self.n_rows, shortest=self.n_text, longest=self.n_text, n_vocab=size.n_vocab, seed=1)
        n = n_prompts or self.n_prompts
        return [CompletionTask(ids=ids, n_new=self.n_steps + 1, prompt=i % n) for i, ids in enumerate(texts)]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A measured time and what it is divided by. goal: upper bound of the quotient; None: it is only reported."""

    name: str
    seconds: float
    against: str
    against_s: float
    goal: float | None = None

    @property
    def ratio(self) -> float:
        return self.seconds / self.against_s


class DeviceWork:
    """All measurements of one model.

    Args:
        module: as ``shapes.build`` makes it; its attention is replaced by the last measurements.
    """

    def __init__(self, module: Any, size: LlamaSize, *, load: Load, speed: DeviceSpeed) -> None:
        self._module = module
        self._size = size
        self._load = load
        self._speed = speed
        weight = module.get_input_embeddings().weight
        self._device: torch.device = weight.device
        self._dtype: torch.dtype = weight.dtype
        n_prompts = max(load.n_prompts, load.n_rows)
        self._prompts = soft_prompts(n_prompts, n_virtual=load.n_virtual, d_model=size.d_model, seed=2)

    def rows(self) -> list[Row]:
        """The static batch first, whose attention is transformers' own."""
        static_s = self._static_s()
        engine = EngineSide(self._module, prompts=self._prompts, limits=self._limits())
        tasks = self._load.tasks(self._size)
        self._complete(engine, tasks)  # compiles the prompts
        prefill_s, decode_s = self._complete(engine, tasks)
        own_s = prefill_s + decode_s * self._load.n_steps
        return [
            Row(
                name="decode step",
                seconds=decode_s,
                against="memory floor",
                against_s=self.decode_floor_s(),
                goal=DECODE_GOAL,
            ),
            Row(
                name="prefill",
                seconds=prefill_s,
                against="arithmetic floor",
                against_s=self.prefill_floor_s(),
                goal=PREFILL_GOAL,
            ),
            Row(name="completions", seconds=own_s, against="transformers, static batch", against_s=static_s),
            *self._variants(engine, decode_s=decode_s),
            self._tuning(engine.engine.model),
        ]

    def decode_floor_s(self) -> float:
        """Reading all weights and, at the mean length of a row, all keys and values once."""
        load = self._load
        length = load.n_virtual + load.n_text + load.n_steps / 2
        n_bytes = float(n_parameters(self._size, with_head=True) * self._dtype.itemsize)
        n_bytes += load.n_rows * length * kv_bytes(self._size, dtype=self._dtype)
        return n_bytes / self._speed.bandwidth

    def prefill_floor_s(self) -> float:
        """Two operations for each parameter and token; attention is not counted, and the head is applied to last tokens."""
        load, size = self._load, self._size
        n = 2.0 * n_parameters(size, with_head=False) * load.n_rows * load.n_text
        n += 2 * size.d_model * size.n_vocab * load.n_rows
        return n / self._speed.flops

    def tuning_floor_s(self, n_tokens: int) -> float:
        """Four operations for each parameter and token: a forward, and the gradient with respect to inputs."""
        return 4 * n_parameters(self._size, with_head=True) * n_tokens / self._speed.flops

    def _limits(self) -> Limits:
        load = self._load
        needed = 2 * load.n_rows * (load.n_virtual + load.n_text + load.n_steps + 64)
        n_bytes = needed * kv_bytes(self._size, dtype=self._dtype)
        return Limits(max_rows=load.n_rows, max_step_tokens=load.n_rows * load.n_text, cache_bytes=n_bytes)

    def _complete(
        self, engine: EngineSide, tasks: Sequence[CompletionTask], *, capture: CaptureSpec | None = None
    ) -> tuple[float, float]:
        """Seconds of the step that reads all inputs, and the median of the decode steps."""
        for task in tasks:
            engine.submit(task, capture=capture)
        seconds = []
        while engine.engine.has_work:
            synchronize(self._device)
            began = time.perf_counter()
            engine.step()
            synchronize(self._device)
            seconds.append(time.perf_counter() - began)
        return seconds[0], float(torch.tensor(seconds[1:]).median())

    def _variants(self, engine: EngineSide, *, decode_s: float) -> list[Row]:
        spec = CaptureSpec(sites=("resid_post",), layers=(self._size.middle_layer,))
        capture_s = self._complete(engine, self._load.tasks(self._size), capture=spec)[1]
        each = self._load.tasks(self._size, n_prompts=self._load.n_rows)
        self._complete(engine, each)
        switching_s = self._complete(engine, each)[1]
        usual = f"decode step under {self._load.n_prompts} prompts"
        return [
            Row(name="decode step, a prompt for each row", seconds=switching_s, against=usual, against_s=decode_s),
            Row(
                name="decode step, with a capture",
                seconds=capture_s,
                against=usual,
                against_s=decode_s,
                goal=CAPTURE_GOAL,
            ),
        ]

    def _static_s(self) -> float:
        batch = StaticBatch(self._module, prompts=[vectors.to(self._device) for vectors in self._prompts])
        return median_s(partial(batch.complete, self._load.tasks(self._size)), device=self._device, n=2)

    def _tuning(self, hosted: HostedModel) -> Row:
        load = self._load
        examples = random_examples(
            load.batch_size, shortest=load.n_text, longest=load.n_text, n_answers=8, n_vocab=self._size.n_vocab
        )
        starts: list[dict[str, Tensor]] = [{"soft": vectors} for vectors in self._prompts[: load.n_members]]
        task = TuningTask(examples=examples, starts=starts, n_steps=4, batch_size=load.batch_size)
        n_text = sum(len(example.input_ids) + len(example.target_ids) for example in examples)
        n_tokens = len(starts) * (n_text + load.n_virtual)
        trainer = new_trainer(hosted, replace(task, n_steps=4))
        step_s = median_s(trainer.step, device=self._device, n=3)
        return Row(
            name=f"training step of {load.n_members} prompts",
            seconds=step_s,
            against="arithmetic floor",
            against_s=self.tuning_floor_s(n_tokens),
            goal=TUNING_GOAL,
        )
