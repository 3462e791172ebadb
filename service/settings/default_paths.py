"""Where the demo model and the built-in datasets are."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def default_model_path(*, cwd: Path) -> Path:
    """Path of the demo model: next to the package if it exists there, else under the working directory."""
    bundled = _ROOT / "demo" / "model"
    return bundled if bundled.is_dir() else cwd / "demo" / "model"


def default_datasets_path(*, cwd: Path) -> Path:
    """Path of the built-in datasets: next to the package if they exist there, else under the working directory."""
    bundled = _ROOT / "demo" / "data"
    return bundled if bundled.is_dir() else cwd / "demo" / "data"
