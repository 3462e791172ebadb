"""The built-in datasets: `python -m demo.datasets` writes demo/data/demo-*.jsonl.gz, identically each time.

They contain the tasks without the header lines of the training, in splits that share no queried fact and no sum.
"""

import argparse
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from demo.scaffold import TASKS, Task
from demo.tasks import Example, examples
from demo.world import Split

N_EXAMPLES: Final[dict[Split, int]] = {"train": 3000, "validation": 300, "test": 500}
FOLDER: Final = Path(__file__).parent / "data"


def file_name(task: Task) -> str:
    """Name of a task's file."""
    return f"demo-{task}.jsonl.gz"


def lines(task: Task) -> Iterator[str]:
    """A task's records as JSON lines, in order of splits."""
    for split, n in N_EXAMPLES.items():
        for example in examples(task, split=split, n=n, scaffold=False):
            yield json.dumps(_record(example), ensure_ascii=False)


def pack(text: str) -> bytes:
    """Compress with gzip, without time and name in the header, so that the same text gives the same bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(text.encode("utf-8"))
    return buffer.getvalue()


def write(folder: Path) -> None:
    """Write all files."""
    folder.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        (folder / file_name(task)).write_bytes(pack("".join(f"{line}\n" for line in lines(task))))


def _record(example: Example) -> dict[str, str]:
    if example.task == "text":
        return {"text": example.input + example.target, "split": example.split}
    record = {"input": example.input, "target": example.target, "split": example.split}
    # If the target has more than the result, the result has its own field.
    return record if example.answer == example.target.strip() else {**record, "result": example.answer}


def main() -> None:
    """Write the files into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
