"""How often a growing checkpoint is written: seldom enough that all the writing together stays a few times its final size."""

from __future__ import annotations


class CheckpointInterval:
    """Due whenever a tenth has been added to what the last checkpoint held."""

    def __init__(self, *, n_saved: int = 0) -> None:
        self.n_saved = n_saved

    def is_due(self, n: int) -> bool:
        """Whether ``n`` rows are enough more than were saved."""
        return n >= self.n_saved + max(1, self.n_saved // 10)

    def saved(self, n: int) -> None:
        """Note that a checkpoint with ``n`` rows has been written."""
        self.n_saved = n
