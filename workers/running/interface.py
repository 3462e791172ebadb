"""What the kinds of work see of the run that they are: progress, metrics, checkpoints, outputs, and the order to stop.

A kind is a function ``work(run: RunContext) -> Mapping[str, float]``; what it returns are the run's metrics. It may be
begun again at any time from its last checkpoint, after its worker was killed, and must then come to the same end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from service.settings import Settings
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.prompts.store import PromptStore

if TYPE_CHECKING:
    from service.engine.model.hosted_model import HostedModel


class RunStopped(Exception):
    """The run must not go on here: it was cancelled, another attempt has taken over, or the worker shuts down.

    May pass through a kind's code after it has saved a last checkpoint; never to be swallowed.
    """


class RunContext(Protocol):
    """One attempt at one run."""

    run_id: str
    attempt: int
    name: str | None
    spec: Mapping[str, Any]
    settings: Settings
    artifacts: ArtifactStore
    prompts: PromptStore
    datasets: DatasetStore

    def load_model(self, name: str) -> HostedModel:
        """The base model of that name, loaded once a process."""

    def progress(self, step: int, total: int) -> None:
        """How far it is. Cheap: reported a few times a second at most; the time left is predicted from it."""

    def metric(self, step: int, *, member: str | None = None, **values: float) -> None:
        """A point of the run's curves. Points of a step that an earlier attempt reported already are dropped."""

    def log(self, text: str, *, level: str = "info") -> None:
        """A sentence for the run's owner; level: info or warning."""

    def made_prompt(self, ref: str) -> None:
        """Note that the run has made this prompt version."""

    def check(self) -> None:
        """Raise RunStopped if the run must stop. Cheap: to be called every step."""

    def save_checkpoint(self, files: Mapping[str, bytes]) -> None:
        """Keep ``files`` as the newest checkpoint, whole or not at all; the one before stays until this one is whole."""

    def load_checkpoint(self) -> Mapping[str, bytes] | None:
        """The newest whole checkpoint, None if there is none."""

    def save_output(self, path: str, data: bytes) -> None:
        """Keep an artifact of the run; the same path again replaces it."""

    def read_output(self, path: str) -> bytes | None:
        """An artifact of this run saved before, perhaps by an earlier attempt."""


Work = Callable[[RunContext], Mapping[str, float]]
"""A kind of work."""


class Team(Protocol):
    """The workers that are at one run: the one whose attempt it is, and helpers.

    They agree on parts of the work by name. It may happen all the same that two do one part, for instance when one of them
    seemed dead: what comes of a part must not depend on who does it, and be kept once.
    """

    def part(self, name: str) -> AbstractContextManager[bool]:
        """Have a part to oneself until the context ends; False when another has it."""

    def free(self, names: Sequence[str]) -> Sequence[str]:
        """Those parts that nobody has."""

    def ask(self, n: int) -> int:
        """Ask up to ``n`` workers for help that have nothing else to do; how many were asked. Cheap to call often."""

    def is_needed_elsewhere(self) -> bool:
        """Whether runs wait for a worker, so that a helper should leave."""

    def disband(self) -> None:
        """The work is done: nobody need come any more."""


class Workplace(Protocol):
    """What one who works on a run has, also a helper, who writes nothing of the run itself."""

    run_id: str
    spec: Mapping[str, Any]
    settings: Settings
    artifacts: ArtifactStore
    prompts: PromptStore
    datasets: DatasetStore

    @property
    def team(self) -> Team:
        """Those who work on the run, oneself among them."""

    def load_model(self, name: str) -> HostedModel:
        """As RunContext.load_model."""

    def check(self) -> None:
        """As RunContext.check."""


class SharedRun(RunContext, Workplace, Protocol):
    """One attempt at a run that other workers may help with."""


Help = Callable[[Workplace], None]
"""How one helps with a kind of work: until there is nothing to do, or one is needed elsewhere."""
