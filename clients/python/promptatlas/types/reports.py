"""Reports: runs that measure the paper's findings on the user's models, prompts and datasets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from promptatlas.types.datasets import DatasetRef
from promptatlas.types.priors import Prior
from promptatlas.types.references import Reference
from promptatlas.types.sites import LayerIndex
from promptatlas.types.wire import RequestBody, ResponseBody


class ReportSpec(RequestBody):
    """Spec of a ``report`` run.

    datasets: the tasks to compare. prompts: tuned prompts; prior, seed, curve and draw are read from their runs. n: texts
    read from each dataset. samples: of bootstraps and permutations. max_tokens: of a trajectory.
    """

    model: str = Field(min_length=1, max_length=200)
    datasets: list[DatasetRef] = Field(min_length=1, max_length=32)
    prompts: list[Reference] = Field(default_factory=list, max_length=1024)
    priors: list[Prior] = Field(default_factory=list, max_length=64)
    layers: Literal["all"] | list[LayerIndex] = "all"
    n: int = Field(default=200, ge=20, le=100_000)
    n_trajectories: int = Field(default=50, ge=2, le=10_000)
    max_tokens: int = Field(default=24, ge=2, le=1024)
    samples: int = Field(default=999, ge=99, le=99_999)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    title: str | None = Field(default=None, min_length=1, max_length=200)


class Finding(ResponseBody):
    """One of the paper's findings, measured. ``rule`` states in words how the verdict follows from the numbers.

    number: 1 to 7, as in the paper's list. missing: what the measurement lacked, if it was not possible.
    """

    number: int
    title: str
    verdict: Literal["confirmed", "contradicted", "mixed", "not measured"]
    rule: str
    numbers: dict[str, Any] = Field(default_factory=dict)
    missing: str | None = None


class Separation(ResponseBody):
    """Separation of tasks at one layer, by one measure. low, high: bounds of the confidence interval."""

    layer: int
    measure: str
    value: float
    p_value: float | None = None
    low: float | None = None
    high: float | None = None
    per: Literal["text", "token"] = "text"


class Report(ResponseBody):
    """``report.json`` of a report run. collapse: by prompt, then by measure. labels: texts for keys and parts of rules."""

    title: str
    model: str
    revision: str
    findings: list[Finding]
    collapse: dict[str, dict[str, Any]] = Field(default_factory=dict)
    separation: list[Separation] = Field(default_factory=list)
    trajectories: list[dict[str, Any]] = Field(default_factory=list)
    shape: list[dict[str, Any]] = Field(default_factory=list)
    spec: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
