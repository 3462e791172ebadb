"""Evaluation of the demo model on held-out examples: `python -m demo.evaluate` writes demo/model/EVALUATION.md."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from demo.generation import LoadedModel, complete, load_model
from demo.scaffold import CHAIN_TASKS, STEPPED, TASKS, Task
from demo.tasks import Example, examples
from demo.world import Split

# The longest target with its end of text, and a few tokens more to detect outputs that continue.
N_NEW: dict[Task, int] = {
    "qa": 6,
    "cloze": 6,
    "arithmetic": 6,
    "arithmetic-cot": 40,
    "text": 0,
    "chain": 6,
    "chain-cot": 24,
    "chain-brief": 12,
}


@dataclass(frozen=True)
class Score:
    """Number of exact matches among `n` examples of a task."""

    task: Task
    scaffold: bool
    n_right: int
    n: int

    @property
    def share(self) -> float:
        """Share of exact matches, 0..1."""
        return self.n_right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the share."""
        return wilson(self.n_right, n=self.n)


def wilson(n_right: int, *, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of `n_right` of `n`; valid at shares near 0 and 1, unlike the normal interval."""
    share, spread = n_right / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def score(loaded: LoadedModel, *, shown: Sequence[Example]) -> Score:
    """Exact matches of greedy completions. The output must end with end of text and contain only the answer."""
    outputs = complete(loaded, inputs=[example.input for example in shown], n_new=N_NEW[shown[0].task])
    n_right = sum(example.is_answered_by(output) for example, output in zip(shown, outputs, strict=True))
    return Score(shown[0].task, shown[0].scaffold, n_right, len(shown))


def nats_per_token(loaded: LoadedModel, *, shown: Sequence[Example]) -> float:
    """Mean loss of target tokens and end of text, in nats per token."""
    total, n_tokens = 0.0, 0
    for example in shown:
        given, wanted = loaded.encode(example.input), [*loaded.encode(example.target), loaded.end_id]
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([given + wanted])).logits[0, len(given) - 1 : -1]
        total += functional.cross_entropy(logits, torch.tensor(wanted), reduction="sum").item()
        n_tokens += len(wanted)
    return total / n_tokens


def evaluate(loaded: LoadedModel, *, split: Split, n: int, seed: int, chains: bool = False) -> str:
    """The evaluation as a Markdown page. chains: whether the model was trained on chains as well."""
    tasks = (*TASKS[:-1], *(CHAIN_TASKS if chains else ()), TASKS[-1])
    stepped = ", ".join(task for task in tasks if task in STEPPED)
    lines = [
        "# Evaluation",
        "",
        f"{n} examples per row from the {split} split (seed {seed}), greedy decoding. Exact match: the output up to end",
        f"of text is exactly the answer; for {stepped}, the result after the steps. Brackets show the 95 % Wilson",
        "interval. *Without scaffold* is the same example without its header line. `python -m demo.evaluate` writes",
        "this page.",
        "",
        "| task | with scaffold | without scaffold | n |",
        "| --- | --- | --- | --- |",
    ]
    for task in tasks:
        pair = [examples(task, split=split, n=n, seed=seed, scaffold=scaffold) for scaffold in (True, False)]
        if task == "text":
            losses = [nats_per_token(loaded, shown=shown) for shown in pair]
            lines += [
                "",
                f"text, mean loss: {losses[0]:.3f} nats per token with header, {losses[1]:.3f} without (n {n}).",
            ]
        else:
            lines.append(_row([score(loaded, shown=shown) for shown in pair]))
    return "\n".join(lines) + "\n"


def _row(pair: Sequence[Score]) -> str:
    cells = [f"{one.share:.1%} [{one.interval[0]:.1%}, {one.interval[1]:.1%}]" for one in pair]
    return f"| {pair[0].task} | {cells[0]} | {cells[1]} | {pair[0].n} |"


def main() -> None:
    """Evaluate the model of a folder and write the page to the same folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("demo/model"))
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chains", action="store_true", help="evaluate the tasks of the steps model")
    chosen = parser.parse_args()
    loaded = load_model(chosen.model)
    page = evaluate(loaded, split=chosen.split, n=chosen.n, seed=chosen.seed, chains=chosen.chains)
    (chosen.model / "EVALUATION.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
