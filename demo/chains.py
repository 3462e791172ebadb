"""Chains of operations on a dial of ten digits, with all positions as steps, or every second one.

`3 + 5 - 9 + 4 - 6 + 7 - 2 =` moves from 3 to 8, 9, 3, 7, 4 and 2. All chains have the same length and all positions one digit. A
step is therefore a fixed number of tokens behind its operation, so that a small model finds it, and needs the position before it.
"""

import itertools
import random
from dataclasses import dataclass
from typing import Final, Literal

from demo.world import Split, split_of

N_DIGITS: Final = 10
N_OPERATIONS: Final = 6

Style = Literal["direct", "steps", "brief"]


@dataclass(frozen=True)
class Chain:
    """The first position 0..9, and signed operands of one digit, which move it around the dial."""

    first: int
    operands: tuple[int, ...]

    @property
    def split(self) -> Split:
        """Split of the whole chain."""
        return split_of("chain", self.first, *self.operands)

    @property
    def positions(self) -> tuple[int, ...]:
        """The position after each operation."""
        return tuple(total % N_DIGITS for total in itertools.accumulate(self.operands, initial=self.first))[1:]

    @property
    def result(self) -> int:
        """The last position."""
        return self.positions[-1]

    @property
    def expression(self) -> str:
        """The chain up to its equals sign: `3 + 5 - 2 =`."""
        signed = (f"{'+' if operand > 0 else '-'} {abs(operand)}" for operand in self.operands)
        return " ".join([str(self.first), *signed, "="])

    def text(self, style: Style) -> str:
        """The answer: the result, all positions, or every second one; `2`, `8; 9; 3; 7; 4; 2` or `9; 7; 2`."""
        kept = {"direct": self.positions[-1:], "steps": self.positions, "brief": self.positions[1::2]}
        return "; ".join(map(str, kept[style]))


def draw_chain(rng: random.Random, *, split: Split) -> Chain:
    """A chain of `split`."""
    while True:
        operands = tuple(rng.randint(1, 9) * rng.choice((1, -1)) for _ in range(N_OPERATIONS))
        drawn = Chain(rng.randrange(N_DIGITS), operands)
        if drawn.split == split:
            return drawn
