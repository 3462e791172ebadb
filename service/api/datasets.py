"""Datasets: upload, list, a look at the first items, deletion."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(tags=["datasets"])
