"""Two thousand generated requests over all routes, on real engines: whole is streamed, a batch is alone, and no 5xx.

Requests are derandomised: every session sends the same ones. A failure prints the shrunk request as a ``Sent``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.integration.generated import bodies
from tests.integration.generated.answers import choices_of, require_error, require_same_choices, require_same_tensors
from tests.integration.generated.bodies import Sent
from tests.integration.generated.mistakes import mistaken
from tests.integration.generated.world import GeneratedWorld, open_world


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


def check_all(strategy: st.SearchStrategy[Any], check: Callable[[Any], None], *, n: int) -> None:
    examples(n)(given(strategy)(check))()


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

    check_all(st.lists(make(world), min_size=1, max_size=4), check, n=n)


@pytest.mark.parametrize(("make", "n"), [(bodies.activations, 70), (bodies.trajectories, 40)])
def test_tensors_of_a_batch_are_those_of_each_request_alone(world: GeneratedWorld, make: Any, n: int) -> None:
    def check(group: list[Sent]) -> None:
        alone = [post(world, sent) for sent in group]
        for found, expected in zip(together(world, group), alone, strict=True):
            assert (found.status_code, expected.status_code) == (200, 200), (found.text, expected.text)
            require_same_tensors(found.content, expected.content)

    check_all(st.lists(make(world), min_size=1, max_size=3), check, n=n)


def test_a_mistake_is_refused_with_the_field_that_has_it(world: GeneratedWorld) -> None:
    def check(mistake: tuple[Sent, str]) -> None:
        sent, field = mistake
        require_error(post(world, sent), field=field)

    check_all(mistaken(world), check, n=400)
