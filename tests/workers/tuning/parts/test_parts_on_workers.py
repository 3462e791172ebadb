"""A divided run on two real workers, one of which is killed or cancelled."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from safetensors.numpy import load

from service.queueing.embedded_redis import find_server
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.prompts.store import PromptStore
from tests.integration.running import children_of, command_of, is_alive, wait_until
from tests.oracle.models import build_model, save
from tests.workers.running.yard import Yard, open_yard
from tests.workers.tuning.parts.helped_run import N_MEMBERS, contents, divide_small_runs, finish
from tests.workers.tuning.parts.slow_kinds import has_begun
from tests.workers.tuning.small_run import SPEC, make_run, put_dataset, records
from workers.tuning.parts.store import PartStore

pytestmark = pytest.mark.skipif(find_server() is None, reason="no redis-server here")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """The prompts of one worker alone, with one thread as those of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        divide_small_runs(patch)
        return contents(finish(make_run(tmp_path_factory.mktemp("alone"))))


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Two workers with the small model; a killed work horse is replaced at the next job."""
    folder = tmp_path_factory.mktemp("yard")
    model = folder / "model"
    model.mkdir()
    save(build_model("llama"), model)
    with open_yard(folder) as opened:
        put_dataset(DatasetStore(ArtifactStore(opened.store)), "words", records())
        opened.start_workers(
            2,
            module="tests.workers.tuning.parts.launch",
            MODELS=f"small={model}",
            DEVICE="cpu",
            DTYPE="float32",
            MAX_BATCH="16",
        )
        wait_until(lambda: len(opened.queue.workers()) == 2, why=opened.logs)
        yield opened


def start(yard: Yard, **changes: Any) -> str:
    run_id = yard.runs.create("tune", spec={**SPEC, **changes}).id
    yard.queue.enqueue(run_id, 1)
    return run_id


def horses(yard: Yard, *, job: str) -> list[int]:
    """Work horses whose job begins so."""
    (family,) = yard.families
    workers = children_of(family.process.pid)
    return [horse for worker in workers for horse in children_of(worker) if job in " ".join(command_of(horse))]


def helper_of(yard: Yard, run_id: str) -> int:
    """The helper, after its first checkpoint."""
    store = PartStore(ArtifactStore(yard.store), run_id=run_id)
    wait_until(lambda: horses(yard, job=f"{run_id}_help_") and has_begun(store), why=yard.logs)
    return horses(yard, job=f"{run_id}_help_")[0]


def prompts(yard: Yard, run_id: str) -> Mapping[str, bytes]:
    store = PromptStore(ArtifactStore(yard.store))
    return {ref: store.content(store.resolve(ref)) for ref in yard.state(run_id).prompts}


def messages(yard: Yard, run_id: str) -> list[str]:
    return [event.data["text"] for event in yard.runs.events(run_id) if event.type == "log"]


def tensors(found: Mapping[str, bytes]) -> Mapping[str, Mapping[str, bytes]]:
    """The bits of the prompts by name: their notes have the run, and earlier runs have made the same versions."""
    return {
        ref.partition("@")[0]: {name: tensor.tobytes() for name, tensor in load(content).items()}
        for ref, content in found.items()
    }


def test_two_workers_give_the_bits_of_one(yard: Yard, expected: Mapping[str, bytes]) -> None:
    run_id = start(yard)
    helper_of(yard, run_id)
    state = yard.wait_for_end(run_id)
    assert (state.status, state.attempts) == ("succeeded", 1), state.error
    assert tensors(prompts(yard, run_id)) == tensors(expected)
    assert any(text.startswith("Other workers trained") for text in messages(yard, run_id))
    points = [event.data for event in yard.runs.events(run_id) if event.type == "metric"]
    steps = {(point["member"], point["step"]) for point in points}
    assert len(steps) == N_MEMBERS * (SPEC["optimizer"]["steps"] + 1) == len(points)


def test_a_killed_helper_does_not_change_the_bits(yard: Yard, expected: Mapping[str, bytes]) -> None:
    run_id = start(yard)
    os.kill(helper_of(yard, run_id), signal.SIGKILL)
    state = yard.wait_for_end(run_id)
    assert (state.status, state.attempts) == ("succeeded", 1), state.error
    assert tensors(prompts(yard, run_id)) == tensors(expected)


def test_the_worker_of_the_run_may_die_while_a_helper_trains(yard: Yard, expected: Mapping[str, bytes]) -> None:
    run_id = start(yard)
    helper_of(yard, run_id)
    os.kill(horses(yard, job=f"{run_id}_1")[0], signal.SIGKILL)
    state = yard.wait_for_end(run_id)
    assert (state.status, state.attempts) == ("succeeded", 2), state.error
    assert tensors(prompts(yard, run_id)) == tensors(expected)


def test_cancel_ends_both_and_resume_goes_on(yard: Yard, expected: Mapping[str, bytes]) -> None:
    run_id = start(yard, checkpoint_every=2)
    everyone = [helper_of(yard, run_id), *horses(yard, job=f"{run_id}_1")]
    yard.runs.request_cancel(run_id)
    assert yard.wait_for_end(run_id).status == "cancelled"
    wait_until(lambda: not any(is_alive(pid) for pid in everyone), why=yard.logs)
    assert prompts(yard, run_id) == {}
    resumed = yard.runs.resume(run_id)
    yard.queue.enqueue(run_id, resumed.attempts + 1)
    yard.wait(run_id, lambda state: state.status == "succeeded")
    assert tensors(prompts(yard, run_id)) == tensors(expected)
