"""Runs of kind ``distill``: tuning with a teacher."""

from __future__ import annotations

from collections.abc import Mapping

from workers.running.interface import SharedRunContext
from workers.tuning.distillation.context import DistillContext
from workers.tuning.run import perform


def distill(run: SharedRunContext) -> Mapping[str, float]:
    """Train prompts to reproduce a teacher, evaluate them beside it, and store each as a prompt version.

    Writes the files of a ``tune`` run.

    Returns:
        the metrics of the best member, as those of a ``tune`` run; also ``{split}/n_generated`` with its 95th percentile
        ``…_p95``, ``{split}/n_forward`` and ``{split}/cut``; if a model is the teacher, ``{split}/kl``, ``{split}/agreement``
        and the teacher's metrics, ``teacher/…``.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact: the spec is invalid, the teacher has another tokenizer, or no example can
            be learned.
        Conflict: the data or a model has changed since the first attempt.
    """
    return perform(run, open_context=DistillContext.of)
