"""Values of command-line options that several commands of the demo share."""

from __future__ import annotations

import argparse


def positive_minutes(text: str) -> float:
    """A finite number of minutes above 0; raises ArgumentTypeError."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number of minutes, got {text}")
    return value
