from __future__ import annotations

from workers.evaluation.example_rows import CheckpointInterval


def test_all_that_is_written_stays_a_few_times_the_final_size() -> None:
    pace, written, n_checkpoints = CheckpointInterval(), 0, 0
    for n in range(1, 10_001):
        if pace.is_due(n):
            pace.saved(n)
            written += n
            n_checkpoints += 1
    assert written < 12 * 10_000
    assert n_checkpoints > 50


def test_nothing_new_is_never_due() -> None:
    assert not CheckpointInterval(n_saved=7).is_due(7)
    assert CheckpointInterval(n_saved=7).is_due(8)
    assert not CheckpointInterval(n_saved=100).is_due(109)
    assert CheckpointInterval(n_saved=100).is_due(110)
