"""Training documents: examples under headers, and the same contexts, questions and sums without answers.

A document is a tuple of segments with loss weights. Segments end where the tokenizer splits (before a space or at a
newline), so encoding them separately gives the ids of the joined text.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast

from demo import lexicon
from demo.chains import Style as ChainStyle
from demo.chains import draw_chain
from demo.scaffold import CHAIN_TASKS, HEADER_OF_ECHO, HEADER_OF_LIST, HEADERS, HEADERS_OF_MANY, Task
from demo.stories import after_chain, after_gap, after_question, after_sum, draw_story
from demo.sums import draw_sum
from demo.world import Fact, Scene, Slot, draw_fact, draw_rival, draw_scene

ANSWER_WEIGHT: Final = 4.0
GIVEN_WEIGHT: Final = 0.0  # contexts under headers are random: they cannot be predicted and only add gradient noise
OPEN_WEIGHT: Final = 0.1  # the same contexts in running text: enough to generate them well
MAX_FACTS: Final = 4


@dataclass(frozen=True)
class Segment:
    """A part of a document, and the loss weight of each of its tokens."""

    text: str
    weight: float


Document = tuple[Segment, ...]
Kind = Literal["one", "many", "marked", "echo", "list", "open"]
Style = Literal["pair", "turned", "statement", "question"]

Mixture = Mapping[tuple[Task, Kind], float]
"""The share of documents of each task and kind."""

MIXTURE: Final[Mixture] = {
    ("qa", "one"): 0.09,
    ("qa", "many"): 0.24,
    ("qa", "marked"): 0.02,
    ("qa", "open"): 0.07,
    ("cloze", "one"): 0.06,
    ("cloze", "many"): 0.14,
    ("cloze", "open"): 0.05,
    ("arithmetic", "one"): 0.03,
    ("arithmetic", "many"): 0.06,
    ("arithmetic", "open"): 0.04,
    ("arithmetic-cot", "one"): 0.03,
    ("arithmetic-cot", "many"): 0.04,
    ("text", "one"): 0.01,
    ("text", "echo"): 0.02,
    ("text", "list"): 0.10,
    ("text", "open"): 0.04,
}
STEPS_MIXTURE: Final[Mixture] = {
    **{key: 0.6 * share for key, share in MIXTURE.items()},
    # More sums than in the corpus of the demo model: they are the first to get worse when it is trained further.
    ("arithmetic", "many"): 0.12,
    ("arithmetic-cot", "many"): 0.08,
    ("chain", "one"): 0.03,
    ("chain", "many"): 0.01,
    ("chain", "open"): 0.03,
    ("chain-cot", "one"): 0.07,
    ("chain-cot", "many"): 0.04,
    ("chain-brief", "one"): 0.06,
    ("chain-brief", "many"): 0.04,
}
"""The corpus of the steps model, which continues from the demo model: all of its documents, and chains."""
CORPORA: Final[Mapping[str, Mixture]] = {"demo": MIXTURE, "steps": STEPS_MIXTURE}
CHAIN_STYLES: Final[Mapping[Task, ChainStyle]] = {"chain": "direct", "chain-cot": "steps", "chain-brief": "brief"}


def draw_document(rng: random.Random, *, mixture: Mixture = MIXTURE) -> Document:
    """One training document of a kind drawn from a mixture."""
    task, kind = rng.choices(list(mixture), weights=list(mixture.values()))[0]
    if kind == "list":
        return _list(rng, style=rng.choice(("pair", "turned", "statement", "question")))
    if kind == "echo":
        return _echo(rng)
    if task == "text":
        return _story(rng, headed=kind == "one")
    if task in ("qa", "cloze"):
        return _about_scene(rng, task=task, kind=kind)
    if task in CHAIN_TASKS:
        return _about_chains(rng, task=task, kind=kind)
    return _about_sums(rng, task=task, kind=kind)


def draw_lesson(rng: random.Random) -> Document:
    """A list with lookups. It has many rivals at short distances, so the model learns the lookup from these documents."""
    return _list(rng, style=rng.choice(("pair", "turned", "statement")))


def plain_text(document: Document) -> str:
    """The document as one string."""
    return "".join(segment.text for segment in document)


def _story(rng: random.Random, *, headed: bool) -> Document:
    story = Segment(draw_story(rng, split="train"), 1.0)
    return (Segment(rng.choice(HEADERS["text"]) + "\n", GIVEN_WEIGHT), story) if headed else (story,)


def _echo(rng: random.Random) -> Document:
    """Sentences, and the same sentences in another order: many tokens per document train the lookup."""
    sentences = [
        fact.statement(rng) for fact in draw_scene(rng, split="train", n_facts=rng.randint(2, MAX_FACTS)).facts
    ]
    again = rng.sample(sentences, len(sentences))
    given = f"{HEADER_OF_ECHO}\n{' '.join(sentences)}\n"
    return (Segment(given, GIVEN_WEIGHT), Segment(" ".join(again), 1.5))


def _list(rng: random.Random, *, style: Style) -> Document:
    """Four to seven rival facts in one wording, followed by lookups: one per fact, or two if the wording is short."""
    facts = [draw_fact(rng, split="train")]
    for _ in range(rng.randint(3, 6)):
        taken = [word for fact in facts for word in (fact.a, fact.b)]
        facts.append(draw_rival(rng, of=facts[0], taken=taken))
    brief = style in ("pair", "turned")
    wording = {"pair": "{a} {b};", "turned": "{b} {a};"}.get(style) or rng.choice(facts[0].relation.statements)
    facts_text = "".join(" " + wording.format(a=fact.a, b=fact.b) for fact in facts)
    segments = [Segment(f"{HEADER_OF_LIST}\n{facts_text}\n", GIVEN_WEIGHT)]
    for fact in (fact for _ in range(2 if brief else 1) for fact in rng.sample(facts, len(facts))):
        segments += _looked_up(rng, fact=fact, style=style, wording=wording)
    return tuple(segments)


def _looked_up(rng: random.Random, *, fact: Fact, style: Style, wording: str) -> list[Segment]:
    if style == "question":
        slot: Slot = "a" if rng.random() < 0.5 else "b"
        return [
            Segment(f"\n{fact.question(rng, slot=slot)}", GIVEN_WEIGHT),
            Segment(f" {fact.word(slot)}", ANSWER_WEIGHT),
        ]
    first, answer = (fact.b, fact.a) if style == "turned" else (fact.a, fact.b)
    query = wording.split("{b}")[0].strip().format(a=fact.a) if style == "statement" else first
    return [
        Segment(f" {query}", GIVEN_WEIGHT),
        Segment(f" {answer}", ANSWER_WEIGHT),
        Segment("." if style == "statement" else ";", GIVEN_WEIGHT),
    ]


def _about_scene(rng: random.Random, *, task: Task, kind: Kind) -> Document:
    scene = draw_scene(rng, split="train", n_facts=rng.randint(2, MAX_FACTS))
    if kind == "many":
        return _many_about_scene(rng, task=task, scene=scene)
    query, answer = _query(rng, task=task, scene=scene, index=0)
    if kind == "open":
        more = after_question(rng, scene=scene) if task == "qa" else after_gap(rng, scene=scene)
        return (Segment(f"{scene.text} {query}", OPEN_WEIGHT), Segment(more, 1.0))
    header = rng.choice(HEADERS[task])
    query = f"\nQuestion: {query}\nAnswer:" if kind == "marked" else f" {query}"
    return (Segment(f"{header}\n{scene.text}{query}", GIVEN_WEIGHT), Segment(f" {answer}", ANSWER_WEIGHT))


def _many_about_scene(rng: random.Random, *, task: Task, scene: Scene) -> Document:
    segments = [Segment(f"{HEADERS_OF_MANY[task]}\n{scene.text}", GIVEN_WEIGHT)]
    for _ in range(rng.randint(3, 6)):
        query, answer = _query(rng, task=task, scene=scene, index=rng.randrange(len(scene.facts)))
        segments += [Segment(f"\n{query}", GIVEN_WEIGHT), Segment(f" {answer}", ANSWER_WEIGHT)]
    return tuple(segments)


def _query(rng: random.Random, *, task: Task, scene: Scene, index: int) -> tuple[str, str]:
    """A question or a sentence with a gap about one fact of the scene, and its answer."""
    fact, slot = scene.facts[index], cast(Slot, rng.choice("ab"))
    query = fact.question(rng, slot=slot) if task == "qa" else fact.with_gap(rng, slot=slot)
    return query, fact.word(slot)


def _about_sums(rng: random.Random, *, task: Task, kind: Kind) -> Document:
    if kind == "open":
        return (Segment(draw_sum(rng, split="train").expression, OPEN_WEIGHT), Segment(after_sum(rng), 1.0))
    many = kind == "many"
    header = HEADERS_OF_MANY[task] if many else rng.choice(HEADERS[task])
    segments = [Segment(header, GIVEN_WEIGHT)]
    for _ in range(rng.randint(3, 6) if many else 1):
        drawn = draw_sum(rng, split="train")
        answer = drawn.steps if task == "arithmetic-cot" else str(drawn.result)
        segments += [Segment(f"\n{drawn.expression}", GIVEN_WEIGHT), Segment(f" {answer}", ANSWER_WEIGHT)]
    return tuple(segments)


def _about_chains(rng: random.Random, *, task: Task, kind: Kind) -> Document:
    if kind == "open":
        given = draw_chain(rng, split="train").expression
        return (Segment(given, OPEN_WEIGHT), Segment(after_chain(rng), 1.0))
    many = kind == "many"
    segments = [Segment(HEADERS_OF_MANY[task] if many else rng.choice(HEADERS[task]), GIVEN_WEIGHT)]
    for _ in range(rng.randint(2, 3) if many else 1):
        drawn = draw_chain(rng, split="train")
        answer = drawn.text(CHAIN_STYLES[task])
        segments += [Segment(f"\n{drawn.expression}", GIVEN_WEIGHT), Segment(f" {answer}", ANSWER_WEIGHT)]
    return tuple(segments)


def vocabulary_text() -> str:
    """Every word of the lexicon after a space, so that the tokenizer is trained on each of them."""
    words = lexicon.PEOPLE + lexicon.PLACES + lexicon.THINGS + lexicon.COLOURS + lexicon.JOBS + lexicon.FOODS
    return " " + " ".join(words)
