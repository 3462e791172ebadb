"""Completions and a tune give the same results alone and at once, at a size of a moment. Nothing is timed."""

from __future__ import annotations

import pytest

from benchmarks.contests.serving import mixed_load
from benchmarks.measuring.contest import warm_up
from service.queueing.embedded_redis import find_server

SMALL = mixed_load.Size(n_clients=2, n_each=6, n_new=3, n_steps=2, n_evaluated=4)


@pytest.mark.skipif(find_server() is None, reason="no redis-server here")
def test_results_do_not_depend_on_what_else_runs() -> None:
    with mixed_load.open_contest(SMALL, http=True) as contest:
        agreements = warm_up(contest)
    assert [agreement.holds for agreement in agreements] == [True, True]


def test_the_latency_of_the_slowest_twentieth_is_a_metric() -> None:
    outcome = mixed_load.Outcome(latencies_s=[float(second) for second in range(100, 0, -1)], tune_s=7.0)
    assert outcome.metrics() == {"p50_s": 50.5, "p95_s": 95.0, "tune_s": 7.0}
    assert "tune_s" not in mixed_load.Outcome(latencies_s=[1.0]).metrics()


def test_it_needs_http() -> None:
    with pytest.raises(ValueError, match="http=True"), mixed_load.open_contest(SMALL, http=False):
        pass
