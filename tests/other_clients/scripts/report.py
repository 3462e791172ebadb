"""What the scripts share: each runs named checks with one client and writes their results as JSON.

``python SCRIPT URL KEY RESULTS [EXAMPLE]``: the address of a service, a key, the file to write, and an example to run.
"""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL = "demo"
PROMPT = "qa"
TUNED = f"{MODEL}:{PROMPT}"
QUESTION = "Mira went to the mill. Hugo is in the cave. Where is Mira?"
TEXT = f"Answer the question in a word.\n{QUESTION}"
STORY = "Go on with the story.\nListen to what I heard yesterday. Mira waited in the kitchen."
OTHER_STORY = "Go on with the story.\nDavid likes soup. Karin likes olives."
LONG = QUESTION * 100
N_TOKENS = 12


@dataclass(frozen=True)
class Server:
    """url: base address of the OpenAI-compatible routes, ending in ``/v1``."""

    url: str
    key: str


Check = Callable[[Server], Any]


def outcome(check: Callable[[], Any]) -> Any:
    """The result of a check, or its error: class, names of the class's bases, code and message."""
    try:
        return check()
    except Exception as error:
        bases = [base.__name__ for base in type(error).__mro__]
        return {
            "error": type(error).__name__,
            "bases": bases,
            "code": getattr(error, "code", None),
            "param": getattr(error, "param", None),
            "message": str(error),
        }


def report(checks: Mapping[str, Check]) -> None:
    """Run all checks, then the example, and write the results. ``example`` is what the example printed."""
    url, key, results, *examples = sys.argv[1:]
    server = Server(url=f"{url}/v1", key=key)
    found = {name: outcome(lambda check=check: check(server)) for name, check in checks.items()}  # type: ignore[misc]
    for example in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            failed = outcome(lambda example=example: runpy.run_path(example) and None)  # type: ignore[misc]
        found["example"] = printed.getvalue() if failed is None else failed
    Path(results).write_text(json.dumps(found))
