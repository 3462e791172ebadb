"""What the routes of runs share in their paths."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

RunId = Annotated[str, Path(max_length=100, description="A run's id.")]
