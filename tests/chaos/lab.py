"""What the scenarios share: the model, a service that most of them disturb, and the results of undisturbed runs."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from promptatlas.types import RunKind

from tests.chaos.ledger import Ledger
from tests.chaos.processes import Broken, Host, wait_for
from tests.chaos.watcher import Watcher
from tests.chaos.workload import KINDS, MODEL, PROMPTS, complete, fingerprint, prepare_store, submit
from tests.integration.tiny_model import save_tiny_model

READY_WITHIN_S = 60.0
"""Within which a service serves again after any fault, on a machine that does nothing else."""

RUN_WITHIN_S = 300.0
"""Within which a run of some seconds ends, with everything that waits before it."""


@dataclass(frozen=True)
class Submitted:
    """A run of a scenario."""

    kind: RunKind
    id: str
    name: str


class Lab:
    """One execution of the scenarios.

    Attributes:
        rng: draws the steps and the victims. ready_within_s, run_within_s: limits of recoveries and of runs.
        reference: fingerprints of undisturbed runs. texts: greedy completions by prompt reference.
    """

    def __init__(self, folder: Path, *, seed: int, patience: float) -> None:
        self.rng = random.Random(seed)
        self.ready_within_s = READY_WITHIN_S * patience
        self.run_within_s = RUN_WITHIN_S * patience
        self.reference: Mapping[RunKind, Mapping[str, str]] = {}
        self.texts: dict[str | None, str] = {}
        self.folder = folder
        self._n_hosts = 0
        self._n_runs = 0
        self._shared: Host | None = None
        (folder / "model").mkdir()
        save_tiny_model(folder / "model")

    def prepare(self) -> None:
        """Make the results that disturbed runs are compared with."""
        host = self.host()
        self.texts = {ref: complete(host.http, prompt_ref=ref) for ref in (None, *PROMPTS)}
        runs = [self.submit(host, kind) for kind in KINDS]
        self.reference = {run.kind: self._print_of(host, run) for run in runs}

    def host(self) -> Host:
        """The shared service, well and with all that runs need."""
        if self._shared is None:
            self._shared = self.new_host(workers=2)
            self._shared.start()
            self._shared.wait_until_well()
            prepare_store(self._shared.http)
        elif not self._shared.is_running:
            self._shared.start()
        self._shared.wait_until_well()
        return self._shared

    def new_host(
        self,
        *,
        workers: int,
        home: str | None = None,
        settings: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Host:
        """A service that is not started yet, with a store of its own unless ``home`` is given."""
        self._n_hosts += 1
        folder = self.folder / f"host-{self._n_hosts}"
        folder.mkdir()
        # Attempts: so many that a run is not given up while it is killed again and again. Threads: bits depend on their number,
        # which by default depends on the number of workers.
        given = {"WORKERS": str(workers), "RUN_ATTEMPTS": "20", "WORKER_THREADS": "1", **(settings or {})}
        models = f"{MODEL}={self.folder / 'model'}"
        return Host(folder, home=home or str(folder / "store"), models=models, settings=given, environ=environ or {})

    @contextlib.contextmanager
    def own_host(self, ledger: Ledger, **options: object) -> Iterator[Host]:
        """A service for one scenario, with its data; it must leave nothing behind."""
        host = self.new_host(**options)  # type: ignore[arg-type]
        try:
            host.start()
            host.wait_until_well()
            prepare_store(host.http)
            yield host
            self.require_clean_end(host, ledger)
        finally:
            host.close()

    def close(self, ledger: Ledger) -> None:
        """Stop the shared service, which must leave nothing behind."""
        if self._shared is not None:
            try:
                self.require_clean_end(self._shared, ledger)
            finally:
                self._shared.close()

    def require_clean_end(self, host: Host, ledger: Ledger) -> None:
        """Stop a service: status 0, and no process, socket or temporary folder is left."""
        status = host.stop()
        ledger.require(status == 0, promise="SIGTERM ends it with status 0", otherwise=f"status {status}")
        left = host.leftovers()
        ledger.require(not left, promise="nothing is left", otherwise=", ".join(left))

    def watch(self, host: Host, ledger: Ledger, *, may_disconnect: bool = False) -> Watcher:
        """A client that watches a service."""
        return Watcher(host.url, ledger=ledger, texts=self.texts, may_disconnect=may_disconnect)

    def submit(self, host: Host, kind: RunKind) -> Submitted:
        """Start a run."""
        self._n_runs += 1
        name = f"chaos-{self._n_runs:06d}"
        return Submitted(kind, submit(host.http, kind, name=name), name)

    def require_same_bits(self, host: Host, run: Submitted, ledger: Ledger) -> None:
        """Wait for the end of a run; it must succeed with the results of an undisturbed one."""
        found = self._print_of(host, run)
        expected = self.reference[run.kind]
        differing = sorted(path for path in {*found, *expected} if found.get(path) != expected.get(path))
        ledger.require(not differing, promise="same bits", otherwise=f"{run.kind} {run.id} differs in {differing[:5]}")

    def _print_of(self, host: Host, run: Submitted) -> Mapping[str, str]:
        self.wait_for_end(host, run)
        return fingerprint(host.http, run.id, name=run.name)

    def wait_for_end(self, host: Host, run: Submitted) -> None:
        """Wait until a run has succeeded, failed or been cancelled."""
        self.wait_for_status(host, run, lambda status: status not in ("queued", "running"))

    def wait_for_status(self, host: Host, run: Submitted, wanted: Callable[[str], bool]) -> float:
        """Wait for a status of a run; returns the seconds that took."""

        def is_there() -> bool:
            time.sleep(0.1)
            try:
                answer = host.http.get(f"/v1/runs/{run.id}")
            except httpx.TransportError:
                return False
            if answer.status_code == 503:
                return False
            if answer.status_code != 200:
                raise Broken(f"run {run.id} cannot be read: {answer.status_code} {answer.text[:200]}")
            return wanted(answer.json()["status"])

        return wait_for(is_there, within_s=self.run_within_s, what=f"{run.kind} run {run.id} goes on")
