"""Checks of rules that find answers in generated texts, of the metrics that compare them, and of sampled answers."""

from __future__ import annotations

from promptatlas.types import Metric
from promptatlas.types.answers import AnswerRule, LastNumber, PatternMatch
from promptatlas.types.tuning import AnswerSampling

from service.errors import InvalidRequest
from service.linear_patterns import LinearPattern
from service.planning.checks.distinct import require_distinct
from service.planning.checks.examples import METRICS_OF_TEXT
from service.planning.specs import Loc


def check_rule(rule: AnswerRule, *, at: Loc) -> None:
    """Raise InvalidRequest if a pattern is not valid."""
    if isinstance(rule, PatternMatch):
        LinearPattern(rule.pattern, loc=(*at, "pattern"))


def answer_metric(metric: Metric | None, *, rule: AnswerRule, at: Loc) -> Metric:
    """The metric that decides whether an answer is correct; InvalidRequest at ``at`` if it does not compare answers."""
    if metric in METRICS_OF_TEXT:
        raise InvalidRequest(
            f"Expected a metric that compares answers, got {metric}, which is measured on targets.", loc=at
        )
    return metric or ("numeric_match" if isinstance(rule, LastNumber) else "exact_match")


def complete_sampling(sampling: AnswerSampling | None, *, answers: bool, at: Loc) -> AnswerSampling | None:
    """The sampling with its metric.

    Args:
        answers: whether the examples have answers.

    Raises:
        InvalidRequest: at the field that cannot work.
    """
    if sampling is None:
        return None
    if not answers:
        raise InvalidRequest(
            "Expected no sampling: it compares answers, and running text has none. A template can produce inputs and targets.",
            loc=at,
        )
    check_rule(sampling.answer, at=(*at, "answer"))
    for i, k in enumerate(sampling.k or ()):
        if k > sampling.n:
            raise InvalidRequest(f"Expected k of at most n, {sampling.n}; got {k}.", loc=(*at, "k", i))
    require_distinct(sampling.k or (), what="values of k", at=(*at, "k"))
    metric = answer_metric(sampling.metric, rule=sampling.answer, at=(*at, "metric"))
    return sampling.model_copy(update={"metric": metric})
