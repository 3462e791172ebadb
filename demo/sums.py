"""Sums of one- and two-digit numbers and their written-out steps."""

import random
from dataclasses import dataclass

from demo.world import Split, split_of


@dataclass(frozen=True)
class Sum:
    """`left` plus or minus `right`; both are 0..99, and the result is not negative."""

    left: int
    sign: str
    right: int

    @property
    def split(self) -> Split:
        """Split of the pair. Both orders of an addition are in one split, so that a swapped pair cannot leak."""
        pair = sorted((self.left, self.right)) if self.sign == "+" else (self.left, self.right)
        return split_of("sum", self.sign, *pair)

    @property
    def result(self) -> int:
        """The value."""
        return self.left + self.right if self.sign == "+" else self.left - self.right

    @property
    def expression(self) -> str:
        """The sum up to its equals sign."""
        return f"{self.left} {self.sign} {self.right} ="

    @property
    def steps(self) -> str:
        """Units, then tens with the carry or borrow, then the result: `7+5=12; 3+4+1=8; 82`."""
        return "; ".join([*self._columns(), str(self.result)])

    def _columns(self) -> list[str]:
        (left_tens, left_units), (right_tens, right_units) = divmod(self.left, 10), divmod(self.right, 10)
        if self.sign == "+":
            carried = left_units + right_units >= 10
            units = f"{left_units}+{right_units}={left_units + right_units}"
            extra, tens = "+1" if carried else "", left_tens + right_tens + carried
        else:
            carried = left_units < right_units
            shown = left_units + 10 * carried
            units = f"{shown}-{right_units}={shown - right_units}"
            extra, tens = "-1" if carried else "", left_tens - right_tens - carried
        if self.left < 10 and self.right < 10:
            return [units]
        return [units, f"{left_tens}{self.sign}{right_tens}{extra}={tens}"]


def draw_sum(rng: random.Random, *, split: Split) -> Sum:
    """A sum of `split`; one in five has two one-digit numbers."""
    while True:
        top = 10 if rng.random() < 0.2 else 100
        left, right, sign = rng.randrange(top), rng.randrange(top), rng.choice("+-")
        if sign == "-" and left < right:
            left, right = right, left
        drawn = Sum(left, sign, right)
        if drawn.split == split:
            return drawn
