from __future__ import annotations

from typing import get_args

from promptatlas.types import RUN_KINDS, RunKind


def test_the_table_has_every_kind_in_the_order_of_the_type() -> None:
    assert (
        tuple(RUN_KINDS)
        == get_args(RunKind)
        == ("tune", "distill", "evaluate", "generate", "batch", "harvest", "map", "report", "sample")
    )


def test_every_kind_has_its_own_spec_and_one_sentence() -> None:
    assert len({info.spec for info in RUN_KINDS.values()}) == len(RUN_KINDS)
    for info in RUN_KINDS.values():
        assert "model" in info.spec.model_fields
        assert info.description.endswith(".")
        assert info.description.count(".") == 1
