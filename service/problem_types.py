"""Types of problems, as in RFC 9457."""

from __future__ import annotations

import re


def slug_of(title: str) -> str:
    """The title of a problem as a part of a URN: ``store-read-only``."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def problem_type(title: str) -> str:
    """The type of a problem with this title."""
    return f"urn:promptatlas:problem:{slug_of(title)}"
