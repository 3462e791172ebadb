"""``python -m tests.workers.tuning.parts.launch TIMING``: workers with short intervals that tune in small parts."""

from __future__ import annotations

import json
import os
import sys

from service.queueing.intervals import Intervals
from service.settings import Settings
from tests.workers.tuning.parts.slow_kinds import HELPERS, KINDS
from workers.running.pool.supervisor import run_workers
from workers.running.setup import WorkSetup

if __name__ == "__main__":
    timing = Intervals(**json.loads(sys.argv[1]))
    settings = Settings.from_environ(os.environ)
    sys.exit(run_workers(WorkSetup(settings=settings, kinds=KINDS, helpers=HELPERS, timing=timing)))
