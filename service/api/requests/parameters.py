"""Path and query parameters that several routes share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

MAX_LIMIT = 1000

RunId = Annotated[str, Path(max_length=100, description="Id of the run.")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items per page.")]
After = Annotated[str | None, Query(max_length=320, description="Cursor `next` of the previous page.")]
"""Long enough for the longest cursor, the name of a dataset of the Hugging Face Hub."""
