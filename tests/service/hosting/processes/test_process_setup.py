from __future__ import annotations

import os
import subprocess
import sys

import pytest

CHURN = """
import resource, sys
from service.hosting.processes.process_setup import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def churn():
    return [b"x" * (3 << 20) for _ in range(8)]
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    churn()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
GLIBC = sys.platform.startswith("linux") and "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")


def churned(how: str, **environ: str) -> tuple[bool, int]:
    """Whether freed memory is kept, and the number of page faults."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", CHURN, how], env={**plain, **environ}, capture_output=True, text=True, check=True
    )
    kept, n_faults = done.stdout.split()
    return kept == "True", int(n_faults)


@pytest.mark.skipif(not GLIBC, reason="another C library")
def test_freed_memory_is_kept_for_reuse() -> None:
    _, usual = churned("leave")
    kept, n_faults = churned("keep")
    assert kept
    assert usual > 20_000
    assert n_faults < usual / 20


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_malloc_settings_of_the_environment_take_precedence(name: str) -> None:
    kept, _ = churned("keep", **{name: "glibc.malloc.trim_threshold=4096" if name.startswith("G") else "4096"})
    assert not kept
