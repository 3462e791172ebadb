from __future__ import annotations

from dataclasses import replace

import pytest

from demo.study.page.study_blocks import STUDY_BLOCKS
from demo.study.plans.smollm2 import SMOLLM2
from tests.demo.study.page.records import RECORD


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("plan", "| steps, examples per step | 60, 16 |"),
        ("plan", "| runs left out | deep-squad |"),
        ("plan", "| a token in a training step | 500 µs |"),
        ("rates", "| soft | 0.005 | 2 |  |"),
        ("rates", "| soft | 0.05 | 1 | chosen |"),
        ("runs", "| soft-squad | 2 | 10 min | 5 min |"),
        ("maps", "| map-pca | 60000 | 60 s |"),
        ("movement", "| pilot-soft-squad | isotropic | 0.05 | 4 | 1.5 | 0.75 | 0.5 |"),
        ("fits", "| 29 | 128 | singular | -1.25 |"),
        ("fits", "| 29 | 256 | -1.5 | – |"),
        ("template", "| a \\| b | 10 | 0.5 (0.25 to 0.75) | yes | 0.5 (0.25 to 0.75) | no |"),
    ],
)
def test_a_block_has_the_numbers_of_the_record(name: str, row: str) -> None:
    assert row in STUDY_BLOCKS[name](RECORD, SMOLLM2).splitlines()


@pytest.mark.parametrize("name", ["movement", "fits", "template"])
def test_reasons_that_were_not_measured_are_named(name: str) -> None:
    assert STUDY_BLOCKS[name](replace(RECORD, reasons={}), SMOLLM2) == "Not measured."


def test_a_study_without_maps() -> None:
    assert STUDY_BLOCKS["maps"](replace(RECORD, runs={}), SMOLLM2) == "No map was made."
