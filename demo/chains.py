"""Chains: a parcel is handed on from person to person, and its holder after five hands is wanted.

The text lists who hands on to whom, in shuffled order. Ten people form one circle, so that no name shows by itself where the
chain ends. Each step is a lookup in the list. Without steps, all five lookups have to follow each other inside the model.
"""

import itertools
import random
from dataclasses import dataclass
from typing import Final, Literal

from demo.lexicon import PEOPLE
from demo.world import Split, split_of

N_PEOPLE: Final = 10
N_HANDS: Final = 5

Style = Literal["direct", "steps", "brief"]


@dataclass(frozen=True)
class Chain:
    """People in the order of the circle, from the first holder, and the order in which they are listed."""

    circle: tuple[str, ...]
    listed: tuple[int, ...]

    @property
    def path(self) -> tuple[str, ...]:
        """The first holder, and the holder after each hand."""
        return self.circle[: N_HANDS + 1]

    @property
    def split(self) -> Split:
        """Split of the path."""
        return split_of("chain", *self.path)

    @property
    def result(self) -> str:
        """The last holder."""
        return self.path[-1]

    @property
    def expression(self) -> str:
        """The list and the first holder: ` Mira Hugo; Karl Nora; Hugo Karl. From Mira:`."""
        follower = dict(zip(self.circle, (*self.circle[1:], self.circle[0]), strict=True))
        pairs = (f"{self.circle[i]} {follower[self.circle[i]]}" for i in self.listed)
        return f" {'; '.join(pairs)}. From {self.circle[0]}:"

    def text(self, style: Style) -> str:
        """The answer in a style; see ``path_text``."""
        return path_text(self.path, style=style)


def path_text(path: tuple[str, ...], *, style: Style) -> str:
    """The last holder; each handover and the last holder, `Mira Hugo; Hugo Karl; Karl`; or all holders, `Hugo Karl`."""
    if style == "steps":
        return "; ".join([*(f"{giver} {taker}" for giver, taker in itertools.pairwise(path)), path[-1]])
    return path[-1] if style == "direct" else " ".join(path[1:])


def draw_chain(rng: random.Random, *, split: Split) -> Chain:
    """A chain of `split`."""
    while True:
        drawn = Chain(tuple(rng.sample(PEOPLE, N_PEOPLE)), tuple(rng.sample(range(N_PEOPLE), N_PEOPLE)))
        if drawn.split == split:
            return drawn
