"""Two thousand generated requests over all routes, on real engines: whole is streamed, a batch is alone, and no 5xx.

Requests are derandomised: every session sends the same ones. A failure prints the shrunk request as a ``Sent``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.integration.generated import bodies, routes
from tests.integration.generated.answers import choices_of, require_error, require_same_choices, require_same_tensors
from tests.integration.generated.bodies import Sent
from tests.integration.generated.mistakes import mistaken
from tests.integration.generated.routes import Call
from tests.integration.generated.world import GeneratedWorld, open_world

N_TESTS = 10
"""Of this module: each sends generated requests."""


def examples(n: int) -> settings:
    return settings(
        max_examples=n,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GeneratedWorld]:
    with open_world(tmp_path_factory.mktemp("generated")) as opened:
        yield opened


def check_all(world: GeneratedWorld, strategy: st.SearchStrategy[Any], check: Callable[[Any], None], *, n: int) -> None:
    examples(n)(given(strategy)(check))()
    world.n_tests += 1


def post(world: GeneratedWorld, sent: Sent, **changes: Any) -> Any:
    return world.post(sent.path, {**sent.body, **changes}, tensors=sent.tensors)


def together(world: GeneratedWorld, group: list[Sent], **changes: Any) -> list[Any]:
    """Send requests at once; their rows run in one batch."""
    with ThreadPoolExecutor(len(group)) as pool:
        return list(pool.map(lambda sent: post(world, sent, **changes), group))


@pytest.mark.parametrize(("make", "n"), [(bodies.completions, 110), (bodies.chats, 60)])
def test_a_streamed_answer_in_a_batch_is_the_whole_answer_alone(world: GeneratedWorld, make: Any, n: int) -> None:
    def check(group: list[Sent]) -> None:
        alone = [choices_of(post(world, sent)) for sent in group]
        streamed = [choices_of(answer) for answer in together(world, group, stream=True)]
        for found, expected in zip(streamed, alone, strict=True):
            require_same_choices(found, expected)

    check_all(world, st.lists(make(world), min_size=1, max_size=4), check, n=n)


@pytest.mark.parametrize(("make", "n"), [(bodies.activations, 70), (bodies.trajectories, 40)])
def test_tensors_of_a_batch_are_those_of_each_request_alone(world: GeneratedWorld, make: Any, n: int) -> None:
    def check(group: list[Sent]) -> None:
        alone = [post(world, sent) for sent in group]
        for found, expected in zip(together(world, group), alone, strict=True):
            assert (found.status_code, expected.status_code) == (200, 200), (found.text, expected.text)
            require_same_tensors(found.content, expected.content)

    check_all(world, st.lists(make(world), min_size=1, max_size=3), check, n=n)


def test_a_mistake_is_refused_with_the_field_that_has_it(world: GeneratedWorld) -> None:
    def check(mistake: tuple[Sent, str]) -> None:
        sent, field = mistake
        require_error(post(world, sent), field=field)

    check_all(world, mistaken(world), check, n=400)


@pytest.mark.parametrize(("make", "n"), [(routes.reads, 200), (routes.writes, 160)])
def test_other_routes_answer_or_refuse_in_the_documented_form(world: GeneratedWorld, make: Any, n: int) -> None:
    def check(call: Call) -> None:
        require_answer_or_error(world.send(call.method, call.path, **call.options))

    check_all(world, make(world), check, n=n)


def test_a_run_is_queued_or_refused_with_the_field_to_blame(world: GeneratedWorld) -> None:
    def check(call: Call) -> None:
        answer = world.send(call.method, call.path, **call.options)
        if answer.status_code != 202:
            require_error(answer, field=None)
            loc = answer.json()["errors"][0]["loc"]
            assert names_of(call.options["json"]) & set(map(str, loc)), answer.text

    check_all(world, routes.runs(), check, n=160)


def names_of(value: Any) -> set[str]:
    """Names of all fields of a body, of any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(names_of, value.values()))
    return set().union(*map(names_of, value)) if isinstance(value, list) else set()


def require_answer_or_error(answer: Any) -> None:
    if answer.status_code >= 400:
        require_error(answer, field=None)


def test_a_batch_of_texts_is_each_text_alone(world: GeneratedWorld) -> None:
    def check(sent: Sent) -> None:
        body = {**sent.body, "temperature": 0.0, "n": 1}
        prompts = (
            body["prompt"]
            if isinstance(body["prompt"], list) and isinstance(body["prompt"][0], str)
            else [body["prompt"]]
        )
        batch = choices_of(world.post(sent.path, {**body, "prompt": prompts}, tensors=sent.tensors))
        for index, prompt in enumerate(prompts):
            alone = choices_of(world.post(sent.path, {**body, "prompt": prompt}, tensors=sent.tensors))
            require_same_choices({0: batch[index]}, alone)

    check_all(world, bodies.completions(world), check, n=80)


def test_embeddings_of_a_batch_are_those_of_each_text_and_of_its_tokens_alone(world: GeneratedWorld) -> None:
    def check(sent: Sent) -> None:
        whole = post(world, sent).json()["data"]
        given = sent.body["input"]
        for item, text in zip(
            whole, given if isinstance(given, list) and isinstance(given[0], str) else [given], strict=True
        ):
            [alone] = world.post(sent.path, {**sent.body, "input": text}).json()["data"]
            np.testing.assert_allclose(item["embedding"], alone["embedding"], rtol=1e-5, atol=1e-5)
            if isinstance(text, str):
                model = sent.body["model"]
                tokens = world.post("/tokenize", {"model": model, "prompt": text}).json()["tokens"]
                [again] = world.post(sent.path, {**sent.body, "input": tokens}).json()["data"]
                np.testing.assert_allclose(again["embedding"], alone["embedding"], rtol=1e-5, atol=1e-5)

    check_all(world, bodies.embeddings(world), check, n=50)


def test_these_were_two_thousand_requests(world: GeneratedWorld) -> None:
    if world.n_tests < N_TESTS:
        pytest.skip("only some of the tests were run")
    assert world.n_sent >= 2000
