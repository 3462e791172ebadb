"""A small world to plan runs in: one model, some datasets and prompts that need not exist anywhere."""

from __future__ import annotations

from typing import Any

from promptatlas.types import Template

from service.errors import NotFound
from service.planning.context import PlanningContext
from service.store.datasets.items import DatasetInfo
from service.store.prompts.manifests import PromptManifest

CARD: dict[str, Any] = {
    "name": "demo",
    "architecture": "LlamaForCausalLM",
    "n_layers": 5,
    "d_model": 7,
    "n_heads": 2,
    "n_kv_heads": 1,
    "d_head": 3,
    "vocab_size": 97,
    "n_positions": 64,
    "dtype": "float32",
    "device": "cpu",
    "revision": "rev-demo",
}
QA_TEMPLATE = Template(input="{question} ", target="{answer}")


def dataset(name: str, *, template: Template | None = QA_TEMPLATE, **splits: int) -> DatasetInfo:
    """Questions and answers, or running text where there is no template."""
    counts = splits or {"train": 50, "validation": 10, "test": 10}
    return DatasetInfo(
        name=name,
        format="jsonl",
        sha256=f"sha256:{name}",
        n_records=sum(counts.values()),
        n_bytes=1,
        splits=counts,  # type: ignore[arg-type]
        template=template,
        fields=("text",) if template is None else ("answer", "question"),
    )


def prompt(name: str, *, kind: Any = "soft", n_virtual: int = 4, version: int = 3, **changes: Any) -> PromptManifest:
    """A stored prompt of the model."""
    fields: dict[str, Any] = {
        "layers": None,
        "d_model": 7,
        "base": "demo",
        "base_revision": "rev-demo",
        "sha256": f"sha256:{name}",
        "created_at": "2026-01-01T00:00:00.000000Z",
        "where": None,
        "seed": None,
        "run_id": None,
        "prior": None,
        "metrics": {},
        "parent": None,
        "notes": None,
        **changes,
    }
    return PromptManifest(name=name, version=version, kind=kind, n_virtual=n_virtual, **fields)


class FakeDatasets:
    """Datasets by name; counts how often each was asked for."""

    def __init__(self, *infos: DatasetInfo) -> None:
        self._infos = {info.name: info for info in infos}
        self.asked: list[str] = []

    def get(self, name: str) -> DatasetInfo:
        self.asked.append(name)
        if name not in self._infos:
            raise NotFound(f"There is no dataset {name!r}.")
        return self._infos[name]


class FakePrompts:
    """Prompts by name, whatever version is asked for."""

    def __init__(self, *manifests: PromptManifest) -> None:
        self._manifests = {manifest.name: manifest for manifest in manifests}

    def resolve(self, ref: str, *, base: str | None = None, allows_posterior: bool = False) -> PromptManifest:
        name = ref.partition("@")[0].removeprefix("sha256:").lstrip("0")
        if name not in self._manifests:
            raise NotFound(f"There is no prompt {ref!r}.")
        return self._manifests[name]


def planning_context(*, memory_bytes: int | None = None, **card: Any) -> PlanningContext:
    """The world; ``card``: what is different about its model."""
    return PlanningContext(
        models={"demo": {**CARD, **card}, "other": {**CARD, "revision": "rev-other"}},
        prompts=FakePrompts(
            prompt("soft"),
            prompt("soft2"),
            prompt("single", n_virtual=1),
            prompt("deep", kind="deep", layers=(1, 4), where="local"),
            prompt("carried", kind="deep", layers=(1, 4), where="carried"),
            prompt("prefix", kind="prefix", layers=(0, 1, 2, 3, 4)),
            prompt("foreign", base="other", base_revision="rev-other"),
            prompt("old", base_revision="rev-before"),
        ),
        datasets=FakeDatasets(
            dataset("qa"),
            dataset("text", template=None),
            dataset("train-only", train=40),
            dataset("one", train=1, test=1, validation=1),
            dataset("no-train", test=5, validation=5),
            dataset("unvalidated", train=5, test=5),
        ),
        memory_bytes=memory_bytes,
    )


def tune_spec(**changes: Any) -> dict[str, Any]:
    """A spec that works, but for ``changes``; its prompts have 4 vectors, as the stored ones do."""
    spec = {
        "model": "demo",
        "dataset": "qa",
        "method": {"kind": "soft", "n_virtual": 4},
        "priors": [{"kind": "xavier"}],
    }
    return {**spec, **changes}
