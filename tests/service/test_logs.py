from __future__ import annotations

import json
import subprocess
import sys

import pytest

# In a separate process, because logging is configured per process.
SCRIPT = """
import logging, sys
import structlog
from service.logs import configure_logs

configure_logs(sys.argv[1])
with structlog.contextvars.bound_contextvars(request_id="r-1"):
    structlog.get_logger("ours").info("hello", n=3)
logging.getLogger("theirs").warning("careful %s", "now")
secret = "my-real-key"
try:
    raise RuntimeError("broken")
except RuntimeError:
    structlog.get_logger("ours").exception("failed")
"""


def logged(kind: str) -> list[str]:
    ended = subprocess.run([sys.executable, "-c", SCRIPT, kind], capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    return ended.stderr.splitlines()


def test_json_logs_are_one_object_per_line() -> None:
    ours, theirs, failed = (json.loads(line) for line in logged("json"))
    assert (ours["event"], ours["n"], ours["request_id"], ours["level"]) == ("hello", 3, "r-1", "info")
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("careful now", "theirs", "warning")
    assert "RuntimeError: broken" in failed["exception"]


@pytest.mark.parametrize("kind", ["json", "text"])
def test_tracebacks_show_no_values(kind: str) -> None:
    # The line of the script that holds it is not part of a traceback from -c.
    assert "my-real-key" not in "\n".join(logged(kind))


def test_text_logs_are_one_line_per_event() -> None:
    lines = logged("text")
    assert "hello" in lines[0]
    assert "n=3" in lines[0]
    assert "careful now" in lines[1]
