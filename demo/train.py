"""Training from a seed: `python -m demo.train` for the demo model; `--resume` continues a checkpoint.

`python -m demo.train --corpus steps --start demo/model` trains the steps model, which continues from the demo model's weights.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from transformers import PreTrainedTokenizerFast

from demo.batches import N_LESSONS, Batch, BatchShape, draw_batch
from demo.corpus import CORPORA
from demo.generation import load_model
from demo.model_config import demo_config, fresh_model
from demo.tokenizer import train_tokenizer
from demo.trainer import Trainer, TrainSettings

SHAPE = BatchShape(n_rows=8, n_tokens=192)
FOLDERS: Final = {"demo": Path("demo/model"), "steps": Path("demo/steps_model")}


def build_trainer(
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    settings: TrainSettings,
    corpus: str = "demo",
    start: Path | None = None,
) -> Trainer:
    """A trainer at step 0, which can load a checkpoint.

    corpus: name of the mixture of documents. start: folder of a trained model to continue from. It has learned the lookup, so
    the first batches contain no lessons.
    """
    end_id = tokenizer.convert_tokens_to_ids(str(tokenizer.eos_token))
    backend = tokenizer.backend_tokenizer
    assert isinstance(end_id, int)

    def draw(index: int) -> Batch:
        return draw_batch(
            index,
            seed=seed,
            shape=SHAPE,
            encode=lambda text: backend.encode(text).ids,
            end_id=end_id,
            mixture=CORPORA[corpus],
            n_lessons=N_LESSONS if start is None else 0,
        )

    if start is None:
        model = fresh_model(demo_config(n_vocabulary=len(tokenizer), end_id=end_id), seed=seed)
    else:
        model = load_model(start).model.train().requires_grad_(True)
    return Trainer(model, settings=settings, draw_batch=draw)


def run(trainer: Trainer, *, checkpoint: Path, save_every: int, stop_after_s: float) -> None:
    """Train until the last step or the time limit, and write a checkpoint in both cases."""
    started, since, losses = time.monotonic(), time.monotonic(), []
    while trainer.step < trainer.settings.n_steps and time.monotonic() - started < stop_after_s:
        losses.append(trainer.advance())
        if trainer.step % 20 == 0:
            rate = len(losses) * SHAPE.n_rows * SHAPE.n_tokens / (time.monotonic() - since)
            print(f"step {trainer.step} loss {sum(losses) / len(losses):.4f} tokens/s {rate:.0f}", flush=True)
            since, losses = time.monotonic(), []
        if trainer.step % save_every == 0:
            trainer.save(checkpoint)
    trainer.save(checkpoint)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", choices=sorted(CORPORA), default="demo", help="mixture of the documents")
    parser.add_argument("--start", type=Path, help="folder of a trained model to continue from")
    parser.add_argument("--rate", type=float, default=1.0, help="factor of the learning rates")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the stored weights")
    parser.add_argument("--out", type=Path, help="folder of the finished model; by default that of the corpus")
    parser.add_argument("--checkpoint", type=Path, default=Path("demo/checkpoints/last.pt"))
    parser.add_argument("--steps", type=int, default=5000, help="number of steps of the schedule, 1,536 tokens each")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="time limit; continue with --resume")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Train, and write the model after the last step."""
    chosen = arguments()
    torch.set_num_threads(chosen.threads)
    chosen.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(chosen.seed)
    full = TrainSettings(n_steps=chosen.steps)
    settings = replace(full, matrix_rate=chosen.rate * full.matrix_rate, other_rate=chosen.rate * full.other_rate)
    trainer = build_trainer(tokenizer, seed=chosen.seed, settings=settings, corpus=chosen.corpus, start=chosen.start)
    if chosen.resume:
        trainer.load(chosen.checkpoint)
    run(trainer, checkpoint=chosen.checkpoint, save_every=100, stop_after_s=chosen.minutes * 60)
    if trainer.step == trainer.settings.n_steps:
        out = chosen.out or FOLDERS[chosen.corpus]
        trainer.model.to(getattr(torch, chosen.dtype)).save_pretrained(out)
        tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main()
