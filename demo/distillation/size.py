"""The size of the experiment: what is trained, for how long, and on how much."""

from dataclasses import dataclass
from typing import Final, Literal

MethodName = Literal["soft", "deep", "prefix", "steering"]
PriorName = Literal["isotropic", "text", "fitted", "direct", "steps", "sums in steps", "qa"]
Part = Literal["all steps", "half the tokens", "the answer"]

METHODS: Final[tuple[MethodName, ...]] = ("soft", "deep", "prefix", "steering")
PARTS: Final[tuple[Part, ...]] = ("all steps", "half the tokens", "the answer")
PRIORS: Final[tuple[PriorName, ...]] = ("isotropic", "text", "fitted", "direct", "steps", "sums in steps", "qa")
SOURCES: Final[tuple[PriorName, ...]] = ("direct", "steps", "sums in steps", "qa")
"""Tasks whose tuned prompts are a prior: the result of a chain, its steps, another task's steps, questions about scenes."""
BASELINES: Final = ("sequence", "KL, half of it on-policy", "curriculum", "half cut off", "shuffled", "wrong")


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of an experiment.

    longer: steps of the further students of the answer, with other numbers of vectors (widths) or vectors at one layer (layers).
    n_test: chains on which every prompt is evaluated. rates: learning rates of the pilots by method; deep_rates: of vectors at
    one layer. n_snapshots: copies of the vectors during training that are evaluated. n_probe: chains whose states are read.
    """

    steps: int
    longer: int
    n_virtual: int
    batch_size: int
    seeds: tuple[int, ...]
    n_train: int
    n_validation: int
    n_test: int
    every: int
    n_snapshots: int
    methods: tuple[MethodName, ...]
    priors: tuple[PriorName, ...]
    baselines: tuple[str, ...]
    widths: tuple[int, ...]
    layers: tuple[int, ...]
    rates: dict[MethodName, tuple[float, ...]]
    deep_rates: tuple[float, ...]
    n_probe: int
    n_map: int

    def sources(self, method: MethodName) -> tuple[PriorName, ...]:
        """The tasks whose prompts of this method are tuned: a prefix starts from soft vectors, and needs no others."""
        if method == "prefix":
            return ()
        return tuple(name for name in SOURCES if name in self.priors_of(method))

    def priors_of(self, method: MethodName) -> tuple[PriorName, ...]:
        """The priors of the students: those of another task's steps start soft prompts only."""
        return tuple(name for name in self.priors if method == "soft" or name != "sums in steps")


FULL: Final = Size(
    steps=40,
    longer=150,
    n_virtual=12,
    batch_size=8,
    seeds=(0, 1, 2),
    n_train=1000,
    n_validation=40,
    n_test=100,
    every=10,
    n_snapshots=8,
    methods=METHODS,
    priors=PRIORS,
    baselines=BASELINES,
    widths=(1, 12, 36),
    layers=(1, 3, 5),
    rates={
        "soft": (0.01, 0.03, 0.1),
        "deep": (0.1, 0.4, 1.6),
        "prefix": (0.01, 0.03, 0.1),
        "steering": (0.01, 0.05, 0.25),
    },
    deep_rates=(0.1, 0.4),
    n_probe=1000,
    n_map=200,
)
QUICK: Final = Size(
    steps=2,
    longer=3,
    n_virtual=2,
    batch_size=2,
    seeds=(0, 1),
    n_train=16,
    n_validation=2,
    n_test=4,
    every=1,
    n_snapshots=2,
    methods=("soft",),
    priors=("isotropic", "direct", "steps"),
    baselines=("curriculum", "wrong"),
    widths=(1,),
    layers=(5,),
    rates={"soft": (0.01, 0.03)},
    deep_rates=(0.1, 0.4),
    n_probe=16,
    n_map=20,
)
"""A smoke test whose numbers have no meaning."""
