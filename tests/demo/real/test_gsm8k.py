"""Problems with a chain and a final number."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.real.folder import BadData
from demo.real.gsm8k import FILE, gsm8k
from tests.demo.real.real_files import write, write_problems


def test_a_problem_has_a_chain_and_a_final_number(tmp_path: Path) -> None:
    write_problems(tmp_path)
    found = gsm8k(tmp_path)
    by_question = {record["question"]: record for record in found.records}
    assert by_question["Ann has 2 pens and buys 3. How many?"]["chain"] == "She has 2+3=5 pens."
    assert by_question["Cy doubles 600."]["answers"] == ["1,200"]
    assert found.text(by_question["Ben halves 10."]) == (
        "Question: Ben halves 10.\nAnswer:",
        " 10/2=5\nSo five.\n#### 5",
    )
    assert {record["split"] for record in found.records} == {"train", "validation", "test"}


def test_a_sample_is_seeded(tmp_path: Path) -> None:
    lines = "".join(f'{{"question": "q{i}", "answer": "c\\n#### {i}"}}\n' for i in range(30))
    write(tmp_path, FILE.path, lines)
    first, again, other = (gsm8k(tmp_path, n=10, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.records != other.records
    assert len(first.records) == 10
    assert first.n_left_out == 20


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "a JSON object in line 1, got 'not json'"),
        ('["q"]', "texts 'question' and 'answer' in line 1"),
        ('{"question": "q"}', "texts 'question' and 'answer' in line 1"),
        ('{"question": "q", "answer": "so 5"}', "ends in '#### number' in line 1, got 'so 5'"),
        ('{"question": "q", "answer": "so ####"}', "ends in '#### number' in line 1"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, FILE.path, line + "\n")
    with pytest.raises(BadData, match=message):
        gsm8k(tmp_path)
