from __future__ import annotations

import pytest
from promptatlas.types import RUN_KINDS, RunKind

from service.errors import AtlasError
from service.planning.run_kinds import RUN_HANDLERS, plan
from tests.service.planning.planning_world import planning_context


def test_every_kind_of_run_has_a_handler() -> None:
    assert list(RUN_HANDLERS) == list(RUN_KINDS)


def test_functions_of_workers_are_named_and_not_imported() -> None:
    names = [name for handler in RUN_HANDLERS.values() for name in (handler.perform, handler.help) if name is not None]
    assert all(name.startswith("workers.") and name.count(":") == 1 for name in names)
    assert len(set(names)) == len(names) == 14


@pytest.mark.parametrize("kind", RUN_KINDS)
def test_every_kind_refuses_an_empty_spec(kind: RunKind) -> None:
    with pytest.raises(AtlasError) as caught:
        plan(kind, {}, context=planning_context())
    assert caught.value.loc == ("spec", "model")
