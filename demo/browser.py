"""Path and flags of a Chromium for headless use of the web page."""

import os
import shutil
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = ("--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage")
"""For machines without a GPU, for root in a container, and for containers with little shared memory."""


def find_chromium() -> str | None:
    """The path in PROMPTATLAS_TEST_CHROMIUM, else one on the PATH; None if there is none or the variable is empty."""
    named = os.environ.get("PROMPTATLAS_TEST_CHROMIUM")
    if named is not None:
        return named or None
    return next(filter(None, map(shutil.which, NAMES)), None)
