"""What a report is asked for, and where a run leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from promptatlas.calls.call import CallOptions
from promptatlas.calls.runs import Spec

HTML, NUMBERS = "report.html", "report.json"


class ReportOptions(CallOptions, total=False):
    """What a report takes beside model and datasets; see ``promptatlas.types.ReportSpec``."""

    prompts: Sequence[str]
    priors: Sequence[Spec]
    layers: Sequence[int] | Literal["all"]
    n: int
    n_trajectories: int
    max_tokens: int
    samples: int
    seed: int
    title: str | None
