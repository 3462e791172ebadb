"""Facts of the micro-world, and their English statements, questions and sentences with gaps.

A fact is a relation between two words. Its hash assigns it to one split permanently. The corpus contains train facts
only, so the training data has no validation or test fact in any wording.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from demo import lexicon

Split = Literal["train", "validation", "test"]
Slot = Literal["a", "b"]
GAP: Final = "___"


def split_of(*key: object) -> Split:
    """The split of a content key: 80 % train, 10 % validation, 10 % test."""
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    bucket = int.from_bytes(digest[:4], "big") % 10
    return "test" if bucket == 9 else "validation" if bucket == 8 else "train"


@dataclass(frozen=True)
class Relation:
    """The sentence templates of one kind of fact: statements, recaps, and questions for each of its words."""

    name: str
    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    statements: tuple[str, ...]
    recaps: tuple[str, ...]
    ask_a: tuple[str, ...]
    ask_b: tuple[str, ...]


RELATIONS: Final = (
    Relation(
        "at",
        lexicon.PEOPLE,
        lexicon.PLACES,
        ("{a} is in the {b}.", "{a} went to the {b}.", "{a} walked to the {b}.", "{a} waited in the {b}."),
        ("{a} was seen in the {b}.", "{a} can be found in the {b}."),
        ("Who is in the {b}?", "Who went to the {b}?"),
        ("Where is {a}?", "Where did {a} go?"),
    ),
    Relation(
        "has",
        lexicon.PEOPLE,
        lexicon.THINGS,
        ("{a} has the {b}.", "{a} picked up the {b}.", "{a} took the {b}.", "{a} carries the {b}."),
        ("{a} holds the {b}.", "{a} got the {b}."),
        ("Who has the {b}?", "Who took the {b}?"),
        ("What does {a} have?", "What did {a} take?"),
    ),
    Relation(
        "lies",
        lexicon.THINGS,
        lexicon.PLACES,
        ("The {a} is in the {b}.", "Somebody left the {a} in the {b}.", "The {a} lay in the {b}."),
        ("The {a} was found in the {b}.", "The {a} can be seen in the {b}."),
        ("What is in the {b}?", "What lay in the {b}?"),
        ("Where is the {a}?", "Where was the {a}?"),
    ),
    Relation(
        "colour",
        lexicon.THINGS,
        lexicon.COLOURS,
        ("The {a} is {b}.", "The {a} was painted {b}.", "The {a} looks {b}."),
        ("The colour of the {a} is {b}.", "The {a} shines {b}."),
        ("Which thing is {b}?", "What looks {b}?"),
        ("What colour is the {a}?", "Which colour has the {a}?"),
    ),
    Relation(
        "job",
        lexicon.PEOPLE,
        lexicon.JOBS,
        ("{a} is the {b}.", "{a} works as a {b}.", "{a} became a {b}."),
        ("{a} is known as the {b}.", "{a} earns money as a {b}."),
        ("Who is the {b}?", "Who works as a {b}?"),
        ("What is the work of {a}?", "What did {a} become?"),
    ),
    Relation(
        "likes",
        lexicon.PEOPLE,
        lexicon.FOODS,
        ("{a} likes {b}.", "{a} eats {b} every day.", "{a} is fond of {b}.", "{a} bought {b}."),
        ("{a} asks for {b}.", "{a} always wants {b}."),
        ("Who likes {b}?", "Who eats {b}?"),
        ("What does {a} like?", "What does {a} eat?"),
    ),
)


@dataclass(frozen=True)
class Fact:
    """One relation between two words, e.g. at(Mira, mill)."""

    relation: Relation
    a: str
    b: str

    @property
    def split(self) -> Split:
        """The only split whose texts query this fact."""
        return split_of(self.relation.name, self.a, self.b)

    def word(self, slot: Slot) -> str:
        """The word in a slot."""
        return self.a if slot == "a" else self.b

    def statement(self, rng: random.Random) -> str:
        """A statement of the fact."""
        return rng.choice(self.relation.statements).format(a=self.a, b=self.b)

    def restatement(self, rng: random.Random) -> str:
        """The fact in other words than those of `statement`."""
        return rng.choice(self.relation.recaps).format(a=self.a, b=self.b)

    def question(self, rng: random.Random, *, slot: Slot) -> str:
        """A question whose answer is the word in `slot`."""
        templates = self.relation.ask_a if slot == "a" else self.relation.ask_b
        return rng.choice(templates).format(a=self.a, b=self.b)

    def with_gap(self, rng: random.Random, *, slot: Slot) -> str:
        """The fact with a gap in place of the word in `slot`."""
        words = {"a": self.a, "b": self.b} | {slot: GAP}
        return rng.choice(self.relation.recaps + self.relation.statements).format(**words)


@dataclass(frozen=True)
class Scene:
    """A context. The scene was drawn for `facts[0]`. All its facts can be queried without ambiguity."""

    facts: tuple[Fact, ...]
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentences as one paragraph."""
        return " ".join(self.sentences)


def draw_fact(rng: random.Random, *, split: Split, taken: Sequence[str] = ()) -> Fact:
    """A fact of `split` whose words are not in `taken`."""
    while True:
        relation = rng.choice(RELATIONS)
        fact = Fact(relation, rng.choice(relation.subjects), rng.choice(relation.objects))
        if fact.split == split and fact.a not in taken and fact.b not in taken:
            return fact


def draw_rival(rng: random.Random, *, of: Fact, taken: Sequence[str]) -> Fact:
    """Another train fact of the same relation, so that the kind of word alone does not determine the answer."""
    while True:
        fact = Fact(of.relation, rng.choice(of.relation.subjects), rng.choice(of.relation.objects))
        if fact.split == "train" and fact.a not in taken and fact.b not in taken:
            return fact


def draw_scene(rng: random.Random, *, split: Split, n_facts: int) -> Scene:
    """A scene of `n_facts` facts in shuffled order: the first of `split` and its rival, then train facts.

    One scene in six also has an earlier place of a person, so that the latest statement is the correct one.
    """
    facts = [draw_fact(rng, split=split)]
    while len(facts) < n_facts:
        taken = [word for fact in facts for word in (fact.a, fact.b)]
        rival = len(facts) == 1 or rng.random() < 0.5
        facts.append(draw_rival(rng, of=facts[0], taken=taken) if rival else draw_fact(rng, split="train", taken=taken))
    sentences = [fact.statement(rng) for fact in facts]
    rng.shuffle(sentences)
    movers = [fact for fact in facts if fact.relation.name == "at"]
    if movers and rng.random() < 0.4:
        sentences = _with_earlier(sentences, rng=rng, facts=facts, mover=movers[0])
    if rng.random() < 0.15:
        sentences.insert(rng.randrange(len(sentences) + 1), rng.choice(lexicon.FILLERS))
    return Scene(tuple(facts), tuple(sentences))


def _with_earlier(sentences: list[str], *, rng: random.Random, facts: list[Fact], mover: Fact) -> list[str]:
    """The sentences with the person's earlier place first, and the present one introduced by `Then`."""
    taken = [word for fact in facts for word in (fact.a, fact.b)]
    places = [
        place
        for place in lexicon.PLACES
        if place not in taken and split_of(mover.relation.name, mover.a, place) == "train"
    ]
    earlier = f"{mover.a} was in the {rng.choice(places)}."
    others = [sentence for sentence in sentences if not sentence.startswith(f"{mover.a} ")]
    return [earlier, *others, f"Then {mover.a} went to the {mover.b}."]
