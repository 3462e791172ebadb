from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.errors import Conflict, InvalidRequest
from service.store.artifacts.store import ArtifactStore
from service.store.idempotency import Attempt, IdempotencyStore, StoredResponse

ANSWER = StoredResponse(status=201, headers={"Location": "/v1/prompts/qa/versions/1"}, body=b'{"name":"qa"}\x00\xff')


@pytest.fixture
def store(tmp_path: Path, clock: Any) -> IdempotencyStore:
    return IdempotencyStore(ArtifactStore(str(tmp_path)), clock=clock)


def begin(store: IdempotencyStore, key: str = "k-1", **other: Any) -> Attempt | StoredResponse:
    return store.begin(key, **{"api_key_name": "ann", "route": "POST /v1/prompts?name=qa", "body": b"body", **other})


def claim(store: IdempotencyStore, key: str = "k-1", **other: Any) -> Attempt:
    attempt = begin(store, key, **other)
    assert isinstance(attempt, Attempt)
    return attempt


def test_the_same_request_again_gets_the_same_answer(store: IdempotencyStore, clock: Any) -> None:
    store.finish(claim(store), response=ANSWER)
    assert begin(store) == ANSWER
    clock.advance(hours=23.9)
    assert begin(store) == ANSWER


def test_another_body_under_the_same_key_is_a_conflict(store: IdempotencyStore) -> None:
    store.finish(claim(store), response=ANSWER)
    with pytest.raises(Conflict, match="another request body"):
        begin(store, body=b"other")


def test_a_request_still_running_is_a_conflict(store: IdempotencyStore, clock: Any) -> None:
    attempt = claim(store)
    with pytest.raises(Conflict, match="still running"):
        begin(store)
    with pytest.raises(Conflict, match="another request body"):
        begin(store, body=b"other")
    store.finish(attempt, response=ANSWER)
    assert begin(store) == ANSWER


@pytest.mark.parametrize("other", [{"api_key_name": "bob"}, {"route": "POST /v1/runs"}, {"key": "k-2"}])
def test_keys_of_others_are_other_keys(store: IdempotencyStore, other: dict[str, str]) -> None:
    store.finish(claim(store), response=ANSWER)
    claim(store, **other)


def test_parts_of_a_scope_do_not_run_together(store: IdempotencyStore) -> None:
    claim(store, "c", api_key_name="a", route="b")
    claim(store, "bc", api_key_name="a", route="")
    claim(store, "c", api_key_name="ab", route="")


def test_an_answer_expires_after_a_day(store: IdempotencyStore, clock: Any) -> None:
    store.finish(claim(store), response=ANSWER)
    clock.advance(hours=24, seconds=1)
    second = claim(store, body=b"other")
    store.finish(second, response=StoredResponse(status=200))
    assert begin(store, body=b"other") == StoredResponse(status=200)


def test_a_request_that_died_gives_its_key_back_in_time(store: IdempotencyStore, clock: Any) -> None:
    dead = claim(store)
    clock.advance(minutes=14)
    with pytest.raises(Conflict):
        begin(store)
    clock.advance(minutes=2)
    second = claim(store)
    with pytest.raises(Conflict, match="still running"):
        begin(store)
    # Not dead after all: its late answer must not take the place of the second's.
    store.finish(dead, response=StoredResponse(status=500))
    store.finish(second, response=ANSWER)
    assert begin(store) == ANSWER


def test_an_abandoned_key_is_free_at_once_for_any_body(store: IdempotencyStore) -> None:
    store.abandon(claim(store))
    store.finish(claim(store, body=b"other"), response=ANSWER)
    assert begin(store, body=b"other") == ANSWER


def test_of_two_at_the_same_instant_one_works(tmp_path: Path, clock: Any) -> None:
    artifacts = ArtifactStore(str(tmp_path))
    second = IdempotencyStore(artifacts, clock=clock)

    class First(ArtifactStore):
        def create_record(self, key: str, record: Any, *, use_reserve: bool = False) -> bool:
            claim(second)
            return super().create_record(key, record)

    with pytest.raises(Conflict, match="still running"):
        begin(IdempotencyStore(First(str(tmp_path)), clock=clock))


def test_it_is_kept_across_restarts(store: IdempotencyStore, tmp_path: Path, clock: Any) -> None:
    store.finish(claim(store), response=ANSWER)
    assert begin(IdempotencyStore(ArtifactStore(str(tmp_path)), clock=clock)) == ANSWER


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "ä", "\x00"])
def test_what_is_no_key(store: IdempotencyStore, key: str) -> None:
    with pytest.raises(InvalidRequest, match="Idempotency-Key has 1 to 255"):
        begin(store, key)


def test_the_sweep_forgets_only_what_is_long_gone(store: IdempotencyStore, tmp_path: Path, clock: Any) -> None:
    store.finish(claim(store, "old"), response=ANSWER)
    clock.advance(hours=25)
    store.finish(claim(store, "new"), response=ANSWER)
    assert store.sweep() == 0
    clock.advance(hours=23.5)
    assert store.sweep() == 1
    assert begin(store, "new") == ANSWER
    claim(store, "old")


def test_the_sweep_leaves_a_damaged_record(store: IdempotencyStore, tmp_path: Path, clock: Any) -> None:
    claim(store)
    path = next(path for path in tmp_path.rglob("*.json"))
    path.write_bytes(path.read_bytes()[:-1])
    clock.advance(days=9)
    assert store.sweep() == 0
