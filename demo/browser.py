"""Where a Chromium is, for all that look at the page without a screen."""

import os
import shutil
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
FLAGS: Final = ("--no-sandbox", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage")
"""For machines without a graphics card, for root in a container, and for a container with little shared memory."""


def find_chromium() -> str | None:
    """The one that PROMPTATLAS_TEST_CHROMIUM names, else one on the PATH; None if there is none, or the name is empty."""
    named = os.environ.get("PROMPTATLAS_TEST_CHROMIUM")
    if named is not None:
        return named or None
    return next(filter(None, map(shutil.which, NAMES)), None)
