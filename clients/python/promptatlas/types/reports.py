"""Spec of the runs that measure the paper's findings on models, prompts and datasets of one's own."""

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

    datasets: the tasks that are compared. prompts: tuned ones; their runs tell prior, seed, curve and draw.
    n: texts read of each dataset. samples: of bootstraps and permutations. max_tokens: of a trajectory.
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
    """One of the paper's findings, measured. verdict follows from ``rule``, which is written out, and the numbers.

    number: 1 to 7 as the paper's list has them. missing: what would be needed, when it could not be measured.
    """

    number: int
    title: str
    verdict: Literal["confirmed", "contradicted", "mixed", "not measured"]
    rule: str
    numbers: dict[str, Any] = Field(default_factory=dict)
    missing: str | None = None


class Separation(ResponseBody):
    """How far tasks lie apart at one layer, by one measure."""

    layer: int
    measure: str
    value: float
    p_value: float | None = None
    low: float | None = None
    high: float | None = None
    per: Literal["text", "token"] = "text"


class Report(ResponseBody):
    """``report.json`` of a report run. collapse: by prompt, then by measure."""

    title: str
    model: str
    revision: str
    findings: list[Finding]
    collapse: dict[str, dict[str, Any]] = Field(default_factory=dict)
    separation: list[Separation] = Field(default_factory=list)
    trajectories: list[dict[str, Any]] = Field(default_factory=list)
    shape: list[dict[str, Any]] = Field(default_factory=list)
    spec: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
