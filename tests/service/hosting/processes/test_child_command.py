from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from multiprocessing.connection import wait

from service.hosting.processes.child_command import Command
from tests.integration.running import is_alive, wait_until

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_the_sentinel_shows_the_end_of_a_program() -> None:
    command = Command([sys.executable, "-c", "import sys; sys.exit(3)"])
    assert wait([command.sentinel], 60) == [command.sentinel]
    command.join()
    assert command.exitcode == 3
    assert not command.is_alive()
    command.close()


def test_a_program_is_stopped_by_signals() -> None:
    for stop, number in ((Command.terminate, signal.SIGTERM), (Command.kill, signal.SIGKILL)):
        command = Command(SLEEP)
        assert wait([command.sentinel], 0) == []
        assert (command.is_alive(), command.exitcode) == (True, None)
        stop(command)
        command.join()
        assert command.exitcode == -number
        command.close()


def test_a_program_gets_the_given_environment_and_writes_to_the_logs() -> None:
    code = """
        from service.hosting.processes.child_command import Command
        Command(["/bin/sh", "-c", "echo $WORD"], environ={"WORD": "hello"}).join()
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "hello\n")


def test_a_program_reads_the_given_standard_input() -> None:
    code = """
        from service.hosting.processes.child_command import Command
        Command(["/bin/cat"], stdin=b"x" * 100_000).join()
        Command(["/bin/cat"]).join()
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert run.stderr == "x" * 100_000


def test_a_program_has_a_session_of_its_own() -> None:
    command = Command(SLEEP)
    assert os.getsid(command.pid) == command.pid
    command.kill()
    command.join()
    command.close()


def test_a_program_dies_with_its_parent() -> None:
    code = f"""
        import os
        from service.hosting.processes.child_command import Command
        print(Command({SLEEP!r}).pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    pid = int(run.stdout)
    wait_until(lambda: not is_alive(pid))
