"""Running text: stories, and continuations after a question, a gap or a sum without an answer."""

import random
from typing import Final, cast

from demo import lexicon
from demo.chains import draw_chain
from demo.sums import draw_sum
from demo.world import Fact, Scene, Slot, Split, draw_scene

_WONDERING: Final = (
    " {p} did not know.",
    " Nobody could say.",
    " {p} asked it twice.",
    " That was the question.",
    " {p} thought about it for a long time.",
    " {p} wanted to know.",
    " {p} wrote it down and went away.",
)
_AT_A_GAP: Final = (
    " The ink had run there.",
    " {p} could not read the word.",
    " So it stood in the old book.",
    " {p} held the page up to the light.",
    " A corner of the page was torn.",
    " Such were the notes of {p}.",
)
_AT_A_SUM: Final = (
    " stood on the wall, and nobody had finished it.",
    " was what {p} had written.",
    " ... {p} put the chalk down.",
    " and no more, said {p}.",
    " was the next sum in the book.",
)
_REMEMBERING: Final = ("Everybody knew it: {s}", "As I said: {s}", "Remember: {s}", "So much is sure: {s}")


def _with_person(rng: random.Random, *, templates: tuple[str, ...]) -> str:
    return rng.choice(templates).format(p=rng.choice(lexicon.PEOPLE))


def remember(rng: random.Random, *, fact: Fact) -> str:
    """A sentence that repeats a fact of the story, whose words can be looked up earlier in the text."""
    return rng.choice(_REMEMBERING).format(s=fact.restatement(rng))


def after_question(rng: random.Random, *, scene: Scene) -> str:
    """The continuation of a question in running text: remarks, further questions, facts; never the bare answer."""
    parts = []
    for _ in range(rng.randint(1, 3)):
        fact = rng.choice(scene.facts)
        draw = rng.random()
        if draw < 0.45:
            parts.append(_with_person(rng, templates=_WONDERING))
        elif draw < 0.75:
            parts.append(" " + fact.question(rng, slot=cast(Slot, rng.choice("ab"))))
        else:
            parts.append(" " + remember(rng, fact=fact))
    return "".join(parts)


def after_gap(rng: random.Random, *, scene: Scene) -> str:
    """The continuation of a sentence with a gap in running text: more gaps, remarks, facts; never the bare word."""
    parts = []
    for _ in range(rng.randint(1, 3)):
        fact = rng.choice(scene.facts)
        draw = rng.random()
        if draw < 0.45:
            parts.append(_with_person(rng, templates=_AT_A_GAP))
        elif draw < 0.75:
            parts.append(" " + fact.with_gap(rng, slot=cast(Slot, rng.choice("ab"))))
        else:
            parts.append(" " + remember(rng, fact=fact))
    return "".join(parts)


def after_sum(rng: random.Random) -> str:
    """The continuation of a sum in running text: further sums, or a remark; never the result."""
    if rng.random() < 0.5:
        return _with_person(rng, templates=_AT_A_SUM)
    return "".join(f"\n{draw_sum(rng, split='train').expression}" for _ in range(rng.randint(1, 4)))


def after_chain(rng: random.Random) -> str:
    """The continuation of a chain in running text: remarks and other chains; never a holder."""
    if rng.random() < 0.7:
        return "".join(_with_person(rng, templates=_WONDERING) for _ in range(rng.randint(1, 2)))
    return f"\n{draw_chain(rng, split='train').expression}"


def draw_story(rng: random.Random, *, split: Split) -> str:
    """A story of 60 to 160 tokens. Its first scene is drawn for a fact of `split`; repeated facts occur earlier in it."""
    sentences = [rng.choice(lexicon.OPENINGS)]
    for index in range(rng.randint(1, 3)):
        scene = draw_scene(rng, split=split if index == 0 else "train", n_facts=rng.randint(2, 3))
        sentences += _with_pronouns(scene.sentences)
        sentences += _beat(rng, scene=scene)
    return " ".join([*sentences, rng.choice(lexicon.CLOSINGS)])


def _with_pronouns(sentences: tuple[str, ...]) -> list[str]:
    """The sentences, with a pronoun for the person of the previous sentence."""
    fluent, previous = [], ""
    for sentence in sentences:
        name = sentence.split(" ", 1)[0]
        same = name == previous and name in lexicon.PRONOUNS
        fluent.append(lexicon.PRONOUNS[name].capitalize() + sentence[len(name) :] if same else sentence)
        previous = name
    return fluent


def _beat(rng: random.Random, *, scene: Scene) -> list[str]:
    """Sentences after a scene: a dialogue, an open question, a repeated fact, the weather."""
    fact, person = rng.choice(scene.facts), rng.choice(lexicon.PEOPLE)
    question = fact.question(rng, slot=cast(Slot, rng.choice("ab")))
    return rng.choice(
        (
            [f'"{question}" asked {person}.', f'"{fact.restatement(rng)}" said {rng.choice(lexicon.PEOPLE)}.'],
            [f"{question}{_with_person(rng, templates=_WONDERING)}"],
            [remember(rng, fact=fact)],
            [rng.choice(lexicon.FILLERS), remember(rng, fact=fact)],
        )
    )
