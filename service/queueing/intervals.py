"""Intervals and timeouts of the processes that execute and monitor runs, in one place, so that tests can shorten them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Seconds. With the defaults a run whose worker was killed is queued again within ``alive_s + 2 × reconcile_s``.

    beat_s: between two heartbeats of an attempt. alive_s: lifetime of a heartbeat, several times ``beat_s``.
    reconcile_s: between two comparisons of the store with the queue, more than ``beat_s``. look_s: between two checks of a
    worker whether its run must stop. cancel_grace_s: how long a run may take to stop before it is killed. flush_s: maximum
    delay before events are stored. retries_s: delays before each retry of a store operation.
    """

    beat_s: float = 3.0
    alive_s: float = 12.0
    reconcile_s: float = 4.0
    look_s: float = 1.0
    cancel_grace_s: float = 2.5
    flush_s: float = 1.0
    retries_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
