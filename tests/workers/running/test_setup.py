from __future__ import annotations

import json

import pytest

from service.queueing.intervals import Intervals
from service.settings import Settings
from workers.running.pool.work_horse import HorseArguments
from workers.running.setup import WorkSetup

ENVIRON = {
    "PROMPTATLAS_HOME": "s3://bucket/folder with ü",
    "PROMPTATLAS_MODELS": "a=/models/a,b=hub/b",
    "PROMPTATLAS_READ_MODELS": "t5=/models/t5",
    "PROMPTATLAS_API_KEYS": f"ann:write:{'0f' * 32},bob:admin:{'1e' * 32}",
    "PROMPTATLAS_REDIS_URL": "redis://:pass@word@host:6379/0",
    "PROMPTATLAS_DEVICE_MAP": "balanced",
    "PROMPTATLAS_WORKER_GRACE_S": "0.1",
    "PROMPTATLAS_CACHE_BYTES": str(2**62),
}


def setup_of(environ: dict[str, str]) -> WorkSetup:
    return WorkSetup(
        settings=Settings.from_environ(environ),
        kinds={"tune": "workers.tuning.run:tune"},
        helpers={"harvest": "workers.harvest.helper:help_harvest"},
        timing=Intervals(beat_s=0.1, retries_s=(0.1, 0.30000000000000004)),
    )


@pytest.mark.parametrize("environ", [{}, ENVIRON])
def test_the_arguments_of_a_work_horse_round_trip_through_json(environ: dict[str, str]) -> None:
    arguments = HorseArguments(
        setup=setup_of(environ),
        worker="workers.running.pool.rq_worker:RunWorker",
        worker_key="rq:worker:x",
        job_id="run-a_1",
        execution_id="e",
        parent_pid=7,
    )
    back = HorseArguments.from_json(json.loads(json.dumps(arguments.to_json())))
    assert back == arguments
    assert back.setup.settings.model_sources == arguments.setup.settings.model_sources
    assert type(back.setup.timing.retries_s) is tuple


def test_a_setup_without_redis_has_no_url() -> None:
    with pytest.raises(ValueError, match="URL of a Redis"):
        _ = setup_of({}).redis_url


def test_the_share_of_memory_of_the_settings_takes_precedence() -> None:
    assert setup_of({}).with_share(0.25).settings.memory_share == 0.25
    assert setup_of({"PROMPTATLAS_MEMORY_SHARE": "0.9"}).with_share(0.25).settings.memory_share == 0.9
