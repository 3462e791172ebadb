from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.api.keys.key_ring import KeyRing
from service.settings import ApiKey, SettingsError
from service.settings.api_keys import read_keys_file
from service.settings.settings import Settings


def line(name: str, **fields: object) -> str:
    return json.dumps({"name": name, "scope": "read", "sha256": digest(name), **fields})


def digest(name: str) -> str:
    return hashlib.sha256(f"secret-{name}".encode()).hexdigest()


class Times:
    """Clocks that stand still until they are moved."""

    def __init__(self) -> None:
        self.monotonic_s, self.now_s = 100.0, 2e9

    def ring(self, file: Path) -> KeyRing:
        return KeyRing(file=file, clock=lambda: self.monotonic_s, now=lambda: self.now_s)

    def pass_s(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.now_s += seconds


@pytest.fixture
def times() -> Times:
    return Times()


def replaced(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def test_lines_are_records_or_the_short_form(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    limits = {"expires": "2027-01-01T00:00:00+02:00", "requests_per_minute": 3, "tokens_per_minute": 5, "max_rows": 7}
    file.write_text(f"# ours\n\n{line('ann', **limits)}\n  bob:admin:{digest('bob').upper()}\n")
    ann, bob = read_keys_file(file)
    assert (ann.requests_per_minute, ann.tokens_per_minute, ann.max_rows) == (3, 5, 7)
    assert ann.expires == datetime(2026, 12, 31, 22, tzinfo=timezone.utc)
    assert bob == ApiKey(name="bob", scope="admin", sha256=digest("bob"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected keys or a comment, got an empty file"),
        ("\n \n", "expected keys or a comment, got an empty file"),
        ("# ok\nann:read:my-secret", "line 2: expected name:scope:sha256-of-key"),
        ('{"name": "ann", "scope": "read"', "line 1: expected a JSON object, got invalid JSON"),
        (line("ann", sha256="my-secret"), "line 1: sha256: string should match pattern"),
        (line("ann", scope="owner"), "line 1: scope: input should be 'read', 'write' or 'admin'"),
        (line("ann", max_rows=0), "line 1: max_rows: input should be greater than or equal to 1"),
        (line("ann", expires="2027-01-01T00:00:00"), "line 1: expires: input should have timezone info"),
        (line("ann", expire=1), "line 1: expected only the fields name, scope, sha256, expires, requests_per_minute"),
        (f"{line('ann')}\n{line('bob', sha256=digest('ann'))}", "line 2: the key of 'bob' is in an earlier line"),
    ],
)
def test_a_wrong_file_is_refused_at_start(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text(text)
    settings = Settings.from_environ({"PROMPTATLAS_API_KEYS_FILE": str(file), "PROMPTATLAS_HOST": "0.0.0.0"})
    with pytest.raises(SettingsError) as caught:
        settings.require_keys_file()
    assert f"PROMPTATLAS_API_KEYS_FILE: {file}: {message}" in str(caught.value)
    assert "my-secret" not in str(caught.value)


def test_a_missing_file_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="it cannot be read: No such file or directory"):
        Settings(api_keys_file=str(tmp_path / "missing")).require_keys_file()


def test_a_replaced_file_counts_after_two_seconds(tmp_path: Path, times: Times) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text(line("ann"))
    ring = times.ring(file)
    replaced(file, line("bob"))
    assert ring.find("secret-ann") is not None
    times.pass_s(1.9)
    assert ring.find("secret-bob") is None
    times.pass_s(0.1)
    assert ring.find("secret-bob") is not None
    assert ring.find("secret-ann") is None


def test_the_link_that_kubernetes_swaps_is_followed(tmp_path: Path, times: Times) -> None:
    for folder, name in (("..1", "ann"), ("..2", "bob")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "keys").write_text(line(name))
        os.utime(tmp_path / folder / "keys", (1e9, 1e9))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "keys").symlink_to("..data/keys")
    ring = times.ring(tmp_path / "keys")
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    times.pass_s(2)
    assert ring.find("secret-bob") is not None
    assert ring.find("secret-ann") is None


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, times: Times, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text(line("ann"))
    times.now_s = file.stat().st_mtime + 60
    ring = times.ring(file)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("the file was read"))
    times.pass_s(10)
    assert ring.find("secret-ann") is not None


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path, times: Times) -> None:
    # A second change within one tick of the file system's clock leaves time, size and inode as they are.
    file = tmp_path / "keys.jsonl"
    file.write_text(line("ann"))
    found = file.stat()
    times.now_s = found.st_mtime
    ring = times.ring(file)
    file.write_text(line("bob"))
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    times.pass_s(2)
    assert ring.find("secret-bob") is not None


@pytest.mark.parametrize("broken", ["", '{"name"', None])
def test_a_broken_file_keeps_the_last_valid_keys(tmp_path: Path, times: Times, broken: str | None) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text(line("ann"))
    with capture_logs() as logs:
        ring = times.ring(file)
        if broken is None:
            file.unlink()
        else:
            replaced(file, broken)
        for _ in range(3):
            times.pass_s(2)
            assert ring.find("secret-ann") is not None
        state = ring.state()
        assert state.status == "lost"
        assert state.detail == "the file of API keys is invalid: 1 keys of its last valid version are used"
        replaced(file, line("bob"))
        times.pass_s(2)
        assert ring.state().status == "ok"
        assert ring.find("secret-ann") is None
    assert [log["log_level"] for log in logs] == ["info", "error", "info"]
    assert ring.find("secret-bob") is not None


def test_a_file_with_a_comment_alone_accepts_no_key(tmp_path: Path, times: Times) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text(line("ann"))
    ring = times.ring(file)
    replaced(file, "# all keys are revoked\n")
    times.pass_s(2)
    assert ring.find("secret-ann") is None
    assert ring.required


def test_keys_of_settings_and_file_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text(line("ann"))
    ring = KeyRing((ApiKey(name="bob", scope="admin", sha256=digest("bob")),), file=file)
    assert [ring.find(f"secret-{name}") is not None for name in ("ann", "bob", "eve")] == [True, True, False]
    assert not KeyRing().required
    assert KeyRing().state().status == "off"


def test_a_key_expires_at_its_time(times: Times, tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text("# none")
    ring = times.ring(file)
    end = datetime.fromtimestamp(times.now_s + 5, tz=timezone.utc)
    key = ApiKey(name="ann", scope="read", sha256=digest("ann"), expires=end)
    assert not ring.is_expired(key)
    times.pass_s(5)
    assert ring.is_expired(key)
