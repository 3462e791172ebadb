"""Tiny files in the layouts of the real datasets, written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ARTICLES = {
    "Rivers": (
        "The Una is 90 km long. Dr. Ana Li measured it in 1931! Nobody had done so before. It ends in a lake.",
        {"How long is the Una?": "90 km", "Who measured it?": "Dr. Ana Li", "Where does it end?": "a lake"},
    ),
    "Hills": ("Mount Or has 900 m. It is bare.", {"How high is Mount Or?": "900 m"}),
    "Towns": ("Bel has two gates. The older one is red.", {"How many gates has Bel?": "two"}),
    "Birds": ("A kite eats mice. It nests in oaks.", {"What does a kite eat?": "mice"}),
}

MATHS = {
    ("easy", "add_or_sub"): "What is 1 plus 2?\n3\n2+1\n3\nWork out 4 - 6.\n-2\n",
    ("easy", "mul"): "3 * 80\n240\nProduct of 1.2 and 0.5.\n0.60\n",
    ("medium", "add_or_sub"): "Calculate -18.1 + 0.144.\n-17.956\nSubtract 7 from 11.\n4\n",
    ("medium", "mul"): "-6*-7\n42\nMultiply 0.04 and 100.\n4\n3 * 80\n240\n",
}

WIKI = """
 = First article =

 Kites are birds , and they eat mice @-@ like animals in the fields . They are " quick " , \
said one <unk> in 1 @,@ 900 . It has ( maybe ) 0 @.@ 5 wings near the end .

 = = A section = =

 This sentence of the section is long enough too .
 = Second article =

 Rivers that are long end in very deep lakes . No end .

 = Third article =

 Towns that are old have very high walls . Towns that are old have very high towers .
"""

PROBLEMS = [
    ("Ann has 2 pens and buys 3. How many?", "She has 2+3=<<2+3=5>>5 pens. \n#### 5"),
    ("Ben halves 10.", "10/2=<<10/2=5>>5\nSo five.\n#### 5"),
    ("Cy doubles 600.", "2*600=1200\n#### 1,200"),
]


def write(folder: Path, name: str, text: str) -> Path:
    """Write one file of the data folder."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_maths(folder: Path, texts: Mapping[tuple[str, str], str] = MATHS) -> None:
    """The four files of arithmetic."""
    for (level, module), text in texts.items():
        write(folder, f"deepmind-math/train-{level}/arithmetic__{module}.txt", text)


def squad_value() -> dict[str, Any]:
    """SQuAD's nested JSON of `ARTICLES`."""
    data = []
    for title, (context, questions) in ARTICLES.items():
        qas = [
            {
                "id": f"{title}-{i}",
                "question": question,
                "answers": [{"text": answer, "answer_start": context.index(answer)}],
            }
            for i, (question, answer) in enumerate(questions.items())
        ]
        data.append({"title": title, "paragraphs": [{"context": context, "qas": qas}]})
    return {"version": "1.1", "data": data}


def write_squad(folder: Path, value: object = None) -> Path:
    """The file of SQuAD."""
    return write(folder, "squad-en.json", json.dumps(squad_value() if value is None else value))


def write_problems(folder: Path) -> Path:
    """The file of GSM8K."""
    lines = (json.dumps({"question": question, "answer": answer}) for question, answer in PROBLEMS)
    return write(folder, "gsm8k-train.jsonl", "\n".join(lines) + "\n")
