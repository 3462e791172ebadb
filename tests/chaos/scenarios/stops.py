"""SIGTERM while requests and runs are executed, and a second SIGTERM."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import httpx

from tests.chaos.lab import Lab
from tests.chaos.ledger import Ledger
from tests.chaos.processes import Host, wait_for
from tests.chaos.watcher import check_refusal
from tests.chaos.workload import GREEDY, KINDS, complete

N_RUNNING = 40
LONG = {**GREEDY, "max_tokens": 300}


def stop_under_load(lab: Lab, ledger: Ledger) -> None:
    """The service ends with status 0; running requests finish, new ones are refused, runs continue in the next service."""
    host = lab.host()
    expected = complete(host.http, max_tokens=LONG["max_tokens"])
    runs = [lab.submit(host, kind) for kind in KINDS]
    lab.wait_for_status(host, runs[0], lambda status: status != "queued")
    time.sleep(lab.rng.uniform(0.0, 4.0))
    stopping = threading.Event()
    with ThreadPoolExecutor(N_RUNNING) as pool:
        answers = [pool.submit(_ask, host) for _ in range(N_RUNNING)]
        wait_for(lambda: _n_running(host) >= 8, within_s=60, what="requests run")
        newcomer = threading.Thread(target=_ask_while_stopping, args=(host, stopping, ledger))
        newcomer.start()
        lab.require_clean_end(host, ledger)
        ledger.injected()
        stopping.set()
        newcomer.join()
        for answer in answers:
            _require_answer(answer, expected, ledger)
    host.start()
    ledger.recovered(host.wait_until_well(within_s=lab.ready_within_s))
    for run in runs:
        lab.require_same_bits(host, run, ledger)


def _ask(host: Host) -> httpx.Response:
    return httpx.post(f"{host.url}/v1/completions", json=LONG, timeout=120)


def _require_answer(future: Future[httpx.Response], expected: str, ledger: Ledger) -> None:
    """A request that was accepted is answered; one that came too late is refused with the cause."""
    try:
        answer = future.result()
    except httpx.TransportError as error:
        ledger.lose(f"a running request got no answer: {error!r}")
        return
    if answer.status_code == 503:
        check_refusal(answer, ledger=ledger)
        ledger.checked("late requests are refused")
        return
    is_right = answer.status_code == 200 and answer.json()["choices"][0]["text"] == expected
    ledger.require(is_right, promise="running requests finish", otherwise=f"{answer.status_code} {answer.text[:200]}")


def _ask_while_stopping(host: Host, stopping: threading.Event, ledger: Ledger) -> None:
    """New requests during the stop: right, refused with a cause, or not connected any more."""
    while not stopping.is_set():
        try:
            answer = httpx.post(f"{host.url}/v1/completions", json=GREEDY, timeout=60)
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code == 503:
            check_refusal(answer, ledger=ledger)
        elif answer.status_code != 200:
            ledger.lose(f"a request during the stop: {answer.status_code} {answer.text[:200]}")
        ledger.checked("new requests are served or refused")


def _n_running(host: Host) -> int:
    lines = host.http.get("/metrics").text.splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("promptatlas_engine_n_running{")))
