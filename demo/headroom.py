"""The accuracy that a soft prompt recovers without the scaffold: `python -m demo.headroom --task qa`.

Plain torch without the service: 20 vectors in front of the frozen model, tuned on examples without scaffold, with the
loss on target and end of text only. It shows that the demo's tasks can be tuned. It is not a tuning recipe.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from demo.evaluate import N_NEW
from demo.generation import LoadedModel, load_model
from demo.scaffold import Task
from demo.tasks import Example, examples


@dataclass(frozen=True)
class TuneSettings:
    """Options of the tuning."""

    n_virtual: int = 20
    n_steps: int = 400
    batch_size: int = 16
    rate: float = 1e-2
    seed: int = 0


def tune(loaded: LoadedModel, *, shown: Sequence[Example], settings: TuneSettings) -> Tensor:
    """Tuned vectors [n_virtual, d_model], initialised with the embeddings of random tokens."""
    rng, generator = random.Random(settings.seed), torch.Generator().manual_seed(settings.seed)
    table = loaded.model.get_input_embeddings().weight
    start = table[torch.randint(table.shape[0], (settings.n_virtual,), generator=generator)]
    prompt = nn.Parameter(start.detach().clone())
    optimiser = torch.optim.AdamW([prompt], lr=settings.rate, weight_decay=0.0)
    for step in range(settings.n_steps):
        optimiser.param_groups[0]["lr"] = settings.rate * (1 - step / settings.n_steps)
        loss = _loss(loaded, prompt=prompt, shown=rng.sample(list(shown), settings.batch_size))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step % 50 == 0 or step == settings.n_steps - 1:
            print(f"step {step} loss {loss.item():.3f}", flush=True)
    return prompt.detach()


def _loss(loaded: LoadedModel, *, prompt: Tensor, shown: Sequence[Example]) -> Tensor:
    """Mean loss of targets and end of text after the prompt. Padding is on the right, where causal attention masks it."""
    rows = [(loaded.encode(one.input), [*loaded.encode(one.target), loaded.end_id]) for one in shown]
    n_tokens = max(len(given) + len(wanted) for given, wanted in rows)
    token_ids, labels = torch.full((len(rows), n_tokens), loaded.end_id), torch.full((len(rows), n_tokens), -100)
    for row, (given, wanted) in enumerate(rows):
        token_ids[row, : len(given) + len(wanted)] = torch.tensor(given + wanted)
        labels[row, len(given) : len(given) + len(wanted)] = torch.tensor(wanted)
    embedded = loaded.model.get_input_embeddings()(token_ids)
    embedded = torch.cat([prompt.expand(len(rows), -1, -1), embedded], dim=1)
    logits = loaded.model(inputs_embeds=embedded).logits[:, len(prompt) - 1 : -1]
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def share_answered(loaded: LoadedModel, *, prompt: Tensor, shown: Sequence[Example]) -> float:
    """Share of exact matches under the prompt, with greedy decoding, one example at a time."""
    return sum(one.is_answered_by(_complete(loaded, prompt=prompt, example=one)) for one in shown) / len(shown)


def _complete(loaded: LoadedModel, *, prompt: Tensor, example: Example) -> str:
    embedded = loaded.model.get_input_embeddings()(torch.tensor([loaded.encode(example.input)]))
    embedded = torch.cat([prompt[None], embedded], dim=1)
    with torch.inference_mode():
        generated = loaded.model.generate(
            inputs_embeds=embedded,
            attention_mask=torch.ones(embedded.shape[:2], dtype=torch.int64),
            do_sample=False,
            max_new_tokens=N_NEW[example.task],
        )
    row = generated[0].tolist()
    finished = loaded.end_id in row
    kept = row[: row.index(loaded.end_id)] if finished else row
    return str(loaded.tokenizer.decode(kept)) + ("" if finished else " [cut]")


def main() -> None:
    """Tune on train examples without scaffold; measure on test examples without scaffold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("demo/model"))
    parser.add_argument("--task", choices=("qa", "cloze", "arithmetic", "arithmetic-cot"), default="qa")
    parser.add_argument("--n-test", type=int, default=200)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    task: Task = chosen.task
    loaded = load_model(chosen.model)
    settings = TuneSettings(n_steps=chosen.steps, rate=chosen.rate, seed=chosen.seed)
    tuned = tune(loaded, shown=examples(task, split="train", n=1000, scaffold=False), settings=settings)
    held_out = examples(task, split="test", n=chosen.n_test, scaffold=False)
    print(f"{task}: {share_answered(loaded, prompt=tuned, shown=held_out):.1%} of {chosen.n_test} without scaffold")


if __name__ == "__main__":
    main()
