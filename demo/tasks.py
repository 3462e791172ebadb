"""Examples of the tasks, in splits that share no queried fact, no sum and no chain.

The corpora contain train facts, sums and chains only, so validation and test examples are not in the training data. The same
seed gives the same examples with and without scaffold; only the header line differs.
"""

import random
import re
from dataclasses import dataclass
from typing import Final, cast

from demo.chains import draw_chain
from demo.corpus import CHAIN_STYLES, MAX_FACTS
from demo.scaffold import HEADERS, STEPPED, Task, under_header
from demo.stories import draw_story
from demo.sums import draw_sum
from demo.world import Slot, Split, draw_scene

# After this many consecutive repeated draws, the split is considered exhausted.
MAX_REPEATS: Final = 5000


@dataclass(frozen=True)
class Example:
    """`input` + `target` + end of text is the text of an example.

    target: begins with the space that belongs to its first token.
    answer: the expected result; the target without its steps.
    key: the held-out content: the queried fact, the sum, the chain, or the story.
    """

    input: str
    target: str
    answer: str
    task: Task
    split: Split
    scaffold: bool
    key: str

    def is_answered_by(self, output: str) -> bool:
        """Whether a complete generated output, up to end of text, is the answer with nothing after it."""
        given = output.strip()
        return (re.split(r"[; ]", given)[-1] if self.task in STEPPED else given) == self.answer


def examples(task: Task, *, split: Split, n: int, seed: int = 0, scaffold: bool = True) -> tuple[Example, ...]:
    """`n` different examples of a task's split, the same for the same seed.

    scaffold: whether the input has the header line of the task.
    """
    rng, header_rng = random.Random(f"{task}-{split}-{seed}"), random.Random(f"header-{task}-{split}-{seed}")
    found: dict[str, Example] = {}
    n_repeats = 0
    while len(found) < n:
        body, target, answer, key = _draw(rng, task=task, split=split)
        if body in found:
            n_repeats += 1
            if n_repeats > MAX_REPEATS:
                raise ValueError(f"expected {n} different {task} examples in {split}, found only {len(found)}")
            continue
        n_repeats = 0
        header = header_rng.choice(HEADERS[task])
        shown = under_header(body, header=header) if scaffold else body
        found[body] = Example(shown, target, answer, task, split, scaffold, key)
    return tuple(found.values())


def _draw(rng: random.Random, *, task: Task, split: Split) -> tuple[str, str, str, str]:
    """Body without header, target, answer, held-out key."""
    if task == "text":
        return _draw_text(rng, split=split)
    if task in ("arithmetic", "arithmetic-cot"):
        drawn = draw_sum(rng, split=split)
        result = str(drawn.result)
        return drawn.expression, f" {drawn.steps if task == 'arithmetic-cot' else result}", result, drawn.expression
    if task in CHAIN_STYLES:
        chain = draw_chain(rng, split=split)
        return chain.expression, f" {chain.text(CHAIN_STYLES[task])}", chain.result, " ".join(chain.path)
    scene, slot = draw_scene(rng, split=split, n_facts=rng.randint(2, MAX_FACTS)), cast(Slot, rng.choice("ab"))
    fact = scene.facts[0]
    query = fact.question(rng, slot=slot) if task == "qa" else fact.with_gap(rng, slot=slot)
    return f"{scene.text} {query}", f" {fact.word(slot)}", fact.word(slot), f"{fact.relation.name}({fact.a}, {fact.b})"


def _draw_text(rng: random.Random, *, split: Split) -> tuple[str, str, str, str]:
    """A story cut after its third sentence; its first scene is about a fact of `split`."""
    story = draw_story(rng, split=split)
    sentences = story.replace("? ", "?|").replace(". ", ".|").split("|")
    body = " ".join(sentences[:3])
    rest = story[len(body) :]
    return body, rest, rest.strip(), story
