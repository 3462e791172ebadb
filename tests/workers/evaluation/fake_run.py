"""A run as a kind of work sees it, kept in memory: what it reports is there to be looked at, and it can be told to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.engine.model.hosted_model import HostedModel
from service.errors import NotFound
from service.settings import Settings
from service.store.artifacts.store import ArtifactStore
from service.store.prompts.store import PromptStore
from workers.running.attempt.coordination import LocalCoordinator
from workers.running.interface import Coordinator, RunStopped


class Killed(BaseException):
    """What a SIGKILL looks like from inside: nothing is saved any more."""


@dataclass
class FakeRun:
    """A SharedRunContext. ``again()`` is the same run under its next attempt.

    stop_at, kill_at: the number of the check at which it is told to stop, or dies. kill_after: the progress after which it
    dies at its next check.
    """

    spec: Mapping[str, Any]
    models: Mapping[str, HostedModel]
    artifacts: ArtifactStore
    datasets: Any
    name: str | None = None
    run_id: str = "run-1"
    attempt: int = 1
    settings: Settings = field(default_factory=Settings)
    stop_at: int | None = None
    kill_at: int | None = None
    kill_after: int | None = None
    checkpoint: Mapping[str, bytes] | None = None
    outputs: dict[str, bytes] = field(default_factory=dict)
    points: dict[tuple[int, str | None], dict[str, float]] = field(default_factory=dict)
    logs: list[tuple[str, str]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)
    n_checks: int = 0
    n_checkpoints: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    coordinator: Coordinator = field(default_factory=LocalCoordinator)
    tallied: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prompts = PromptStore(self.artifacts)

    def again(self) -> FakeRun:
        return FakeRun(
            self.spec,
            self.models,
            self.artifacts,
            self.datasets,
            self.name,
            self.run_id,
            self.attempt + 1,
            self.settings,
            checkpoint=self.checkpoint,
            outputs=self.outputs,
            points=self.points,
            logs=self.logs,
            made=self.made,
            coordinator=self.coordinator,
        )

    def load_model(self, name: str) -> HostedModel:
        if name not in self.models:
            raise NotFound(f"no model {name}")
        return self.models[name]

    def progress(self, step: int, total: int) -> None:
        assert 0 <= step <= total
        self.steps.append((step, total))

    def metric(self, step: int, *, member: str | None = None, **values: float) -> None:
        self.points.setdefault((step, member), {}).update(values)

    def log(self, text: str, *, level: str = "info") -> None:
        assert level in ("info", "warning")
        self.logs.append((level, text))

    def count(self, name: str, amount: float = 1) -> None:
        self.tallied[name] = self.tallied.get(name, 0) + amount

    def made_prompt(self, ref: str) -> None:
        if ref not in self.made:
            self.made.append(ref)

    def check(self) -> None:
        self.n_checks += 1
        step = self.steps[-1][0] if self.steps else 0
        if self.n_checks == self.kill_at or (self.kill_after is not None and step >= self.kill_after):
            raise Killed
        if self.stop_at is not None and self.n_checks >= self.stop_at:
            raise RunStopped("cancelled")

    def save_checkpoint(self, files: Mapping[str, bytes]) -> None:
        self.checkpoint = dict(files)
        self.n_checkpoints += 1

    def load_checkpoint(self) -> Mapping[str, bytes] | None:
        return self.checkpoint

    def save_output(self, path: str, data: bytes) -> None:
        self.outputs[path] = data

    def read_output(self, path: str) -> bytes | None:
        return self.outputs.get(path)

    def warnings(self) -> list[str]:
        return [text for level, text in self.logs if level == "warning"]


@dataclass(frozen=True)
class FakeDatasets:
    """Stands in for a store of datasets: ``examples`` by name and split."""

    splits: Mapping[str, Mapping[str, Sequence[Any]]]
    info: Callable[[str], Any] | None = None

    def get(self, name: str) -> Any:
        assert self.info is not None
        return self.info(name)

    def examples(self, name: str, *, split: str, n: int | None = None, seed: int | None = None, **_: Any) -> list[Any]:
        """A seeded sample leaves out the first examples, so that a test sees whether the seed was given."""
        found = list(self.splits[name].get(split, ()))
        if n is None:
            return found
        return found[:n] if seed is None else found[-n:]
