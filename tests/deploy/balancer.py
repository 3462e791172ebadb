"""nginx with the configuration of ``deploy/nginx``, on a free port, and the replicas that it knows."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.manifests import DEPLOY
from tests.integration.running import PATIENCE_S, children_of, free_port, wait_until

ADDRESS = "127.0.0.1:8080"
# Debian installs it where only root's PATH leads.
PATHS = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))


def find_nginx() -> str | None:
    """Path of nginx; None if there is none."""
    return shutil.which("nginx", path=PATHS)


@dataclass(frozen=True)
class Balancer:
    """A running nginx. folder: of its configuration and logs."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path

    def use(self, urls: Sequence[str]) -> None:
        """Forward new requests to these services; returns when only new worker processes accept connections."""
        before = set(children_of(self.process.pid))
        _write_replicas(self.folder, urls)
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: bool(set(children_of(self.process.pid)) - before), why=self.errors)

    def errors(self) -> str:
        return (self.folder / "error.log").read_text()

    def requests_by_replica(self) -> Counter[str]:
        """Number of answered requests by address of the service."""
        lines = (self.folder / "access.log").read_text().splitlines()
        return Counter(line.split()[2] for line in lines)

    def statuses(self) -> set[str]:
        """Status codes of all answers."""
        return {line.split()[1] for line in (self.folder / "access.log").read_text().splitlines()}


@contextlib.contextmanager
def running_balancer(folder: Path, *, nginx: str, urls: Sequence[str]) -> Iterator[Balancer]:
    """Start nginx in front of services; kill it at the end."""
    address = f"127.0.0.1:{free_port()}"
    text = (DEPLOY / "nginx" / "nginx.conf").read_text()
    assert text.count(f"listen {ADDRESS};") == 1
    # Started by root, its workers would have another user, who may not enter the folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(user + text.replace(ADDRESS, address))
    (folder / "temporary").mkdir()
    _write_replicas(folder, urls)
    log = folder / "error.log"
    command = [nginx, "-p", str(folder), "-e", str(log), "-c", "nginx.conf", "-g", "daemon off;"]
    process = subprocess.Popen(command)
    balancer = Balancer(process, f"http://{address}", folder)
    try:
        wait_until(lambda: process.poll() is not None or bool(children_of(process.pid)), why=balancer.errors)
        assert process.poll() is None, balancer.errors()
        yield balancer
    finally:
        if process.poll() is None:
            # Its workers end with it: SIGTERM is nginx's fast shutdown.
            process.terminate()
            process.wait(PATIENCE_S)


def _write_replicas(folder: Path, urls: Sequence[str]) -> None:
    addresses = [url.removeprefix("http://") for url in urls]
    lines = "".join(f"server {address} max_fails=0;\n" for address in addresses)
    (folder / "replicas.conf").write_text(lines)
