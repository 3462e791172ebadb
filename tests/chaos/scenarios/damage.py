"""Single copies of prompts are damaged on the disk: they are never served, the error names them, and others are served."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.chaos.lab import Lab
from tests.chaos.ledger import Ledger
from tests.chaos.processes import Host
from tests.chaos.workload import GREEDY, complete, upload, vectors

N_EACH = 4


def damage(lab: Lab, ledger: Ledger) -> None:
    """Damage versions of prompts in several ways, and ask for them and for intact ones, with an empty prompt cache."""
    with lab.own_host(ledger, workers=1) as host:
        intact = [f"intact-{i}" for i in range(3)]
        for i, name in enumerate(intact):
            upload(host.http, name, {"soft": vectors(1000 + i, 3)})
        texts = {name: complete(host.http, prompt_ref=name) for name in intact}
        harmed = [_harm(host, f"{how}-{i}", how=how, rng=lab.rng) for how in HARMS for i in range(N_EACH)]
        ledger.injected(len(harmed))
        # Prompts that were compiled before are served from memory; a new engine process reads all of them again.
        host.replace("engine", within_s=lab.ready_within_s)
        ledger.recovered(host.wait_until_well(within_s=lab.ready_within_s))
        for name in harmed:
            _require_refused(host, name, ledger)
        for name, text in texts.items():
            found = complete(host.http, prompt_ref=name)
            ledger.require(found == text, promise="intact prompts are served", otherwise=f"{name}: {found!r}")
        rows = host.http.get("/v1/prompts", params={"limit": 100})
        ledger.require(rows.status_code == 200, promise="the list is served", otherwise=rows.text[:200])
        for name in harmed:
            upload(host.http, name, {"soft": vectors(5, 3)})
            complete(host.http, prompt_ref=name)
            ledger.checked("a new version is served")


def _harm(host: Host, name: str, *, how: str, rng: random.Random) -> str:
    """Store a prompt and damage its only copy; returns its name."""
    pattern, harm = HARMS[how]
    upload(host.http, name, {"soft": vectors(rng.randrange(2**31), 3)})
    [path] = (Path(host.home) / "prompts" / name / "versions" / "1").glob(pattern)
    harm(path, rng)
    return name


def _require_refused(host: Host, name: str, ledger: Ledger) -> None:
    """Every route that would use or send the damaged prompt refuses, and names it."""
    requests: Mapping[str, Callable[[], object]] = {
        "completion": lambda: host.http.post("/v1/completions", json={**GREEDY, "prompt_ref": f"{name}@1"}),
        "content": lambda: host.http.get(f"/v1/prompts/{name}/versions/1/content"),
        "peft": lambda: host.http.get(f"/v1/prompts/{name}/versions/1/content", params={"format": "peft"}),
    }
    for what, ask in requests.items():
        answer = ask()
        status, text = answer.status_code, answer.text  # type: ignore[attr-defined]
        is_named = status == 500 and f"{name}@1" in text and "damaged" in text.lower()
        ledger.require(
            is_named,
            promise="damaged prompts are refused by name",
            otherwise=f"{what} of {name}: {status} {text[:200]}",
        )


def _flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _truncate(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def _remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def _replace(path: Path, rng: random.Random) -> None:
    """The content of another prompt, of the same size."""
    data = path.read_bytes()
    path.write_bytes(data[:-64] + rng.randbytes(64))


HARMS: Mapping[str, tuple[str, Callable[[Path, random.Random], None]]] = {
    "bit": ("_*", _flip),
    "cut": ("_*", _truncate),
    "gone": ("_*", _remove),
    "other": ("_*", _replace),
    "manifest-bit": ("manifest.json", _flip),
    "manifest-cut": ("manifest.json", _truncate),
}
