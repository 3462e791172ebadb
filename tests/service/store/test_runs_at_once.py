"""Many processes at one run: one of them wins, whoever comes late learns of it, and a killed one leaves what is true."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import Conflict
from service.store.artifacts.store import ArtifactStore
from service.store.files.remote_files import open_files
from service.store.runs.store import RunStore
from service.store.runs.writer import RunWriter, StaleAttempt
from tests.service.store.faults import Interrupted

CHILD = """
import sys
from service.store.artifacts.store import ArtifactStore
from service.store.runs.store import RunStore
writer = RunStore(ArtifactStore(sys.argv[1])).claim(sys.argv[2], worker="child")
loaded = writer.load_checkpoint()
step = int(loaded["step"]) if loaded else 0
print(f"from {step}", flush=True)
while True:
    step += 1
    writer.emit("metric", {"step": step, "attempt": writer.attempt})
    writer.set_progress(step)
    writer.flush()
    writer.put_output("out", b"x" * step)
    writer.save_checkpoint({"step": str(step).encode()})
    print(step, flush=True)
"""


def in_threads(calls: list[Callable[[], Any]]) -> list[Any]:
    """Results of ``calls``, all let go at once; of a refused one its Conflict."""
    results: list[Any] = [None] * len(calls)
    gate = threading.Barrier(len(calls))

    def work(i: int) -> None:
        gate.wait()
        try:
            results[i] = calls[i]()
        except Conflict as error:
            results[i] = error

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def runs(root: str) -> RunStore:
    return RunStore(ArtifactStore(root))


@pytest.fixture
def late(root: str) -> Callable[..., RunStore]:
    """A store of a process that is overtaken by ``meanwhile`` just before it makes one of its calls."""

    def make(**options: Any) -> RunStore:
        files: Any = Interrupted(open_files(root), **options)
        return RunStore(ArtifactStore("", files=files))

    return make


def is_event(how: str, key: str) -> bool:
    return how == "create" and "/events/" in key


def ends(runs: RunStore, run_id: str) -> list[Any]:
    """The statuses that ``done`` events tell, after the ids were checked."""
    events = runs.events(run_id)
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    return [event.data["status"] for event in events if event.type == "done"]


def test_of_many_claims_one_is_granted(place: str) -> None:
    # Stores of their own, as processes have them.
    run_id = RunStore(ArtifactStore(place)).create("tune", spec={}).id
    stores = [RunStore(ArtifactStore(place)) for _ in range(6)]
    results = in_threads([lambda store=store: store.claim(run_id, worker="w") for store in stores])  # type: ignore[misc]
    writers = [result for result in results if isinstance(result, RunWriter)]
    assert len(writers) == 1
    assert writers[0].attempt == 1
    assert all("is running, not queued" in result.detail for result in results if isinstance(result, Conflict))
    assert stores[0].get(run_id)[1].attempts == 1


def test_a_run_ends_once_however_many_would_end_it(place: str) -> None:
    runs = RunStore(ArtifactStore(place))
    run_id = runs.create("tune", spec={}).id
    writer = runs.claim(run_id, worker="w")
    results = in_threads(
        [
            lambda: writer.finish("succeeded"),
            lambda: writer.finish("failed", error="x"),
            lambda: runs.note_death(run_id, attempt=1, reason="gone", max_attempts=1),
            lambda: runs.note_death(run_id, attempt=1, reason="gone", max_attempts=1),
            lambda: runs.request_cancel(run_id),
        ]
    )
    state = runs.get(run_id)[1]
    assert ends(runs, run_id) == [state.status]
    assert state.n_deaths <= 1
    # Asking to stop before the end is no end.
    assert sum(result is None for result in results) <= 1
    assert runs.unfinished() == []


def test_threads_of_one_worker_share_their_writer(runs: RunStore) -> None:
    run_id = runs.create("tune", spec={}).id
    writer = runs.claim(run_id, worker="w")

    def work(member: int) -> None:
        for step in range(5):
            writer.emit("metric", {"step": step, "member": str(member)})
            writer.set_progress(step)
            writer.add_prompt(f"qa@{member}")
            writer.flush()

    in_threads([lambda member=member: work(member) for member in range(4)])  # type: ignore[misc]
    writer.finish("succeeded")
    said = [(event.data["step"], event.data["member"]) for event in runs.events(run_id) if event.type == "metric"]
    assert sorted(said) == [(step, str(member)) for step in range(5) for member in range(4)]
    assert sorted(runs.get(run_id)[1].prompts) == [f"qa@{member}" for member in range(4)]
    assert ends(runs, run_id) == ["succeeded"]


def test_whoever_is_given_up_for_dead_in_the_middle_of_a_write_does_not_write(runs: RunStore, late: Any) -> None:
    for meanwhile_of in (
        lambda run_id: runs.note_death(run_id, attempt=1, reason="gone", max_attempts=3),
        lambda run_id: (
            runs.note_death(run_id, attempt=1, reason="gone", max_attempts=3),
            runs.claim(run_id, worker="w2"),
        ),
        lambda run_id: runs.note_death(run_id, attempt=1, reason="gone", max_attempts=1),
    ):
        run_id = runs.create("tune", spec={}).id
        calls: list[str] = []

        def is_second(how: str, key: str, calls: list[str] = calls) -> bool:
            calls.extend([key] * is_event(how, key))
            return len(calls) == 2

        dead = late(at=is_second, meanwhile=lambda run_id=run_id, of=meanwhile_of: of(run_id)).claim(run_id, worker="w")
        dead.emit("metric", {"step": 1})
        with pytest.raises(StaleAttempt):
            dead.finish("succeeded", metrics={"x": 1.0})
        assert len(calls) >= 2
        assert [event.type for event in runs.events(run_id)].count("metric") == 0
        assert ends(runs, run_id) in ([], ["failed"])
        assert runs.get(run_id)[1].metrics == {}


def test_a_stop_that_is_asked_for_while_the_run_ends_comes_too_late(runs: RunStore, late: Any) -> None:
    run_id = runs.create("tune", spec={}).id
    writer = late(
        at=lambda how, key: is_event(how, key) and key.endswith("/0000000003.json"),
        meanwhile=lambda: runs.request_cancel(run_id),
    ).claim(run_id, worker="w")
    writer.finish("succeeded")
    state = runs.get(run_id)[1]
    assert (state.status, state.cancel_requested) == ("succeeded", False)
    assert ends(runs, run_id) == ["succeeded"]


def test_a_stop_that_is_asked_for_while_events_are_written_is_not_lost(runs: RunStore, late: Any) -> None:
    run_id = runs.create("tune", spec={}).id
    writer = late(
        at=lambda how, key: is_event(how, key) and key.endswith("/0000000003.json"),
        meanwhile=lambda: runs.request_cancel(run_id),
    ).claim(run_id, worker="w")
    writer.emit("metric", {"step": 1})
    writer.flush()
    assert writer.cancel_requested
    assert runs.cancel_requested(run_id)
    writer.release("The worker shuts down.")
    assert runs.get(run_id)[1].status == "cancelled"


def test_a_stop_that_is_asked_for_while_a_worker_claims_reaches_it(runs: RunStore, late: Any) -> None:
    run_id = runs.create("tune", spec={}).id
    cancelling = late(at=is_event, meanwhile=lambda: runs.claim(run_id, worker="w"))
    state = cancelling.request_cancel(run_id)
    assert (state.status, state.cancel_requested) == ("running", True)


def test_what_was_resumed_stays_on_the_list_of_the_unfinished(runs: RunStore, late: Any) -> None:
    """The end of the old life is tidied up only after the new one has begun."""
    run_id = runs.create("tune", spec={}).id
    slow = late(at=lambda how, key: how == "remove", meanwhile=lambda: runs.resume(run_id))
    slow.request_cancel(run_id)
    assert [(record.id, state.status) for record, state in runs.unfinished()] == [(run_id, "queued")]
    assert [record.id for record, _ in runs.unfinished()] == [run_id]


def test_of_two_that_resume_one_does(runs: RunStore, late: Any) -> None:
    run_id = runs.create("tune", spec={}).id
    runs.request_cancel(run_id)
    with pytest.raises(Conflict, match="already waiting for a worker"):
        late(at=is_event, meanwhile=lambda: runs.resume(run_id)).resume(run_id)
    assert [record.id for record, _ in runs.unfinished()] == [run_id]


def test_a_resume_that_died_before_it_queued_changes_nothing(runs: RunStore, root: str) -> None:
    run_id = runs.create("tune", spec={}).id
    runs.request_cancel(run_id)
    ArtifactStore(root).put_record(f"runs-unfinished/{run_id}.3.json", {"run_id": run_id})
    assert runs.unfinished() == []
    runs.resume(run_id)
    assert [record.id for record, _ in runs.unfinished()] == [run_id]
    runs.claim(run_id, worker="w").finish("succeeded")
    assert ArtifactStore(root).names("runs-unfinished") == []


def test_killed_workers_lose_nothing_that_was_kept(tmp_path: Path) -> None:
    runs = RunStore(ArtifactStore(str(tmp_path)))
    run_id = runs.create("tune", spec={}).id
    newest = 0
    for attempt in (1, 2):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), run_id], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        # The last checkpoint that was said to be kept, or the one after it.
        begun_at = int(child.stdout.readline().split()[1])
        assert begun_at in (newest, newest + 1)
        while newest < begun_at + 5:
            newest = int(child.stdout.readline())
        child.kill()
        newest = max([newest, *map(int, child.stdout.read().split())])
        child.wait()
        state = runs.get(run_id)[1]
        assert (state.status, state.attempts) == ("running", attempt)
        assert state.progress.step in (newest, newest + 1)
        assert len(runs.read_output(run_id, "out")) in (newest, newest + 1)
        runs.note_death(run_id, attempt=attempt, reason="killed", max_attempts=9)
    runs.claim(run_id, worker="w").finish("succeeded")
    assert ends(runs, run_id) == ["succeeded"]
    assert [point["step"] for point in runs.metrics(run_id)][:newest] == list(range(1, newest + 1))
