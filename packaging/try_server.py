"""Trial of an installed server: a completion, a tuned prompt and the page, in the current folder, then SIGTERM.

Run by ``packaging/try_install.sh`` with the interpreter of the environment. Exit status 0: everything worked.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from promptatlas import Client

READY_WITHIN_S = 180.0
STOPPED_WITHIN_S = 60.0
GONE_WITHIN_S = 10.0
QUESTION = "Mira went to the mill. Hugo is in the cave. Where is Mira?"


def main() -> None:
    """Start the server, use it, stop it."""
    assert not [name for name in ("service", "workers", "demo") if importlib.util.find_spec(name)]
    port = _free_port()
    environ = {name: text for name, text in os.environ.items() if not name.startswith(("PROMPTATLAS_", "PYTHON"))}
    command = str(Path(sys.executable).parent / "promptatlas-server")
    with Path("server.log").open("wb") as log:
        server = subprocess.Popen([command], env={**environ, "PROMPTATLAS_PORT": str(port)}, stderr=log)
    try:
        _use(f"http://127.0.0.1:{port}", server)
        family = [server.pid, *_descendants(server.pid)]
        server.send_signal(signal.SIGTERM)
        status = server.wait(STOPPED_WITHIN_S)
    finally:
        server.kill()
    left = _left(family)
    print(f"SIGTERM: status {status}, {len(family)} processes, left: {left}")
    assert status == 0
    assert not left
    _administer(command, environ)


def _administer(command: str, environ: dict[str, str]) -> None:
    """The commands of the server, on the store that it has left."""
    for arguments in (
        ["admin", "fsck"],
        ["admin", "backup", "copy"],
        ["admin", "gc", "--dry-run"],
        ["key", "create", "--name", "ann", "--scope", "read"],
    ):
        done = subprocess.run([command, *arguments], env=environ, capture_output=True, text=True, check=False)
        print(
            f"{' '.join(arguments)}: status {done.returncode}, {(done.stdout.strip().splitlines() or [''])[-1][:100]}"
        )
        assert done.returncode == 0, done.stderr


def _use(url: str, server: subprocess.Popen[bytes]) -> None:
    _wait_until_ready(url, server)
    page = httpx.get(f"{url}/")
    script = httpx.get(f"{url}/web/js/main.js")
    print(f"/: {page.status_code}, {len(page.content)} bytes; /web/js/main.js: {script.status_code}")
    assert "<!doctype html>" in page.text.lower()
    assert script.is_success
    with Client(url, progress=False) as client:
        run = client.runs.tune(
            model="demo",
            dataset="demo-qa",
            name="qa",
            priors=[{"kind": "isotropic", "std": 0.02}],
            optimizer={"lr": 0.01, "steps": 40, "batch_size": 8},
            eval={"n": 50, "every": 20},
        )
        run.wait()
        print(f"run: {run.status}, {run.prompts}, exact match {run.outcome['test/exact_match']}")
        assert run.status == "succeeded"
        for prompt in (None, "qa"):
            answer = client.completions.create(
                model="demo", prompt=QUESTION, prompt_ref=prompt, max_tokens=8, temperature=0
            )
            print(f"completion with prompt {prompt}: {answer.choices[0].text!r}")
        assert answer.choices[0].text == " mill"


def _wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            state = httpx.get(f"{url}/ready").json()
        except (httpx.TransportError, ValueError):
            state = {}
        if state.get("status") == "ready" and state["workers"]["status"] == "ok":
            return
        time.sleep(0.5)
    sys.exit(f"expected the server to be ready within {READY_WITHIN_S:.0f} s:\n{Path('server.log').read_text()}")


def _descendants(pid: int) -> list[int]:
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [found for child in children for found in (child, *_descendants(child))]


def _left(family: list[int]) -> list[str]:
    # Python's resource tracker ends when it notices that its last client has ended, a moment later.
    deadline = time.monotonic() + GONE_WITHIN_S
    while (left := [line for pid in family if (line := _running(pid))]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _running(pid: int) -> str | None:
    """The status line of a process; None if it has ended. An ended process stays in the table until its parent waits for it."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return None if line.rpartition(")")[2].split()[0] == "Z" else line


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


if __name__ == "__main__":
    main()
