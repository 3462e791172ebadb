from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.settings import ApiKey, ModelSource, Settings, SettingsError, warn_of_unknown_variables

HASH = "a" * 64


def config(folder: Path, text: str) -> str:
    path = folder / "atlas.toml"
    path.write_text(text)
    return str(path)


def secret(folder: Path, name: str, text: str) -> str:
    secrets = folder / "secrets"
    secrets.mkdir(exist_ok=True)
    (secrets / name).write_text(text)
    return str(secrets)


def test_a_toml_file_has_the_same_names_and_richer_values(tmp_path: Path) -> None:
    name = config(
        tmp_path,
        f"""
        port = 9000
        timeout_s = 5
        allowed_hosts = ["Atlas.example", "*"]
        api_keys = ["ann:read:{HASH}"]
        read_models = ["t5=google-t5/t5,base"]
        models = {{a = "/models/a", b = "org/b"}}
        device_map = {{"model.layers" = "cuda:1", lm_head = "cpu"}}
        """,
    )
    settings = Settings.from_environ({"PROMPTATLAS_CONFIG": name})
    assert (settings.port, settings.timeout_s, settings.allowed_hosts) == (9000, 5.0, ("atlas.example", "*"))
    assert settings.api_keys == (ApiKey(name="ann", scope="read", sha256=HASH),)
    assert settings.models == (ModelSource(name="a", path="/models/a"), ModelSource(name="b", path="org/b"))
    assert settings.read_models == (ModelSource(name="t5", path="google-t5/t5,base"),)
    assert settings.device_map == {"model.layers": "cuda:1", "lm_head": "cpu"}
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_keys_in_the_file_may_be_tables(tmp_path: Path) -> None:
    text = (
        f'[[api_keys]]\nname = "ann"\nscope = "read"\nsha256 = "{HASH}"\nexpires = 2027-01-01T00:00:00Z\nmax_rows = 3\n'
    )
    (key,) = Settings.from_environ({"PROMPTATLAS_CONFIG": config(tmp_path, text)}).api_keys
    assert (key.name, key.max_rows, key.expires) == ("ann", 3, datetime(2027, 1, 1, tzinfo=timezone.utc))
    with pytest.raises(SettingsError, match=r"atlas.toml: api_keys: ") as caught:
        Settings.from_environ({"PROMPTATLAS_CONFIG": config(tmp_path, text.replace(HASH, "my-real-secret"))})
    assert "my-real-secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["redis_url", "PROMPTATLAS_REDIS_URL"])
def test_secrets_are_files_named_after_settings(tmp_path: Path, name: str) -> None:
    folder = secret(tmp_path, name, "redis://:password@host/0\n")
    secret(tmp_path, "api_keys", f"ann:read:{HASH}\nbob:admin:{HASH}\n")
    secret(tmp_path, "log", "\n")
    secret(tmp_path, "of_another_program", "x")
    settings = Settings.from_environ({"PROMPTATLAS_SECRETS_DIR": folder})
    assert settings.redis_url == "redis://:password@host/0"
    assert [key.name for key in settings.api_keys] == ["ann", "bob"]
    assert settings.log == "text"
    assert "password" not in repr(settings)


def test_secrets_are_read_where_kubernetes_mounts_them(tmp_path: Path) -> None:
    mounted = tmp_path / "secrets"
    (mounted / "..2026_01").mkdir(parents=True)
    (mounted / "..2026_01" / "redis_url").write_text("redis://host/0")
    (mounted / "..data").symlink_to("..2026_01")
    (mounted / "redis_url").symlink_to("..data/redis_url")
    assert Settings.from_environ({"PROMPTATLAS_SECRETS_DIR": str(mounted)}).redis_url == "redis://host/0"


def test_variables_come_before_secrets_and_secrets_before_the_file(tmp_path: Path) -> None:
    name = config(tmp_path, 'port = 1\nlog = "json"\nhome = "from-the-file"\nworkers = 5\n')
    folder = secret(tmp_path, "port", "2")
    secret(tmp_path, "log", "text")
    settings = Settings.from_environ(
        {
            "PROMPTATLAS_CONFIG": name,
            "PROMPTATLAS_SECRETS_DIR": folder,
            "PROMPTATLAS_PORT": "3",
            "PROMPTATLAS_WORKERS": "",
        }
    )
    assert (settings.port, settings.log, settings.home, settings.workers) == (3, "text", "from-the-file", 5)
    assert settings.max_batch == Settings().max_batch


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'port = "high"',
            "atlas.toml: port: input should be a valid integer, unable to parse string as an integer, got 'high'",
        ),
        ("prot = 1", "atlas.toml: expected names of settings, got 'prot'; did you mean port?"),
        ("[server]\nport = 1", "atlas.toml: expected names of settings, got 'server'"),
        ("port = ", "atlas.toml cannot be read as TOML: Invalid value"),
        ('models = ["only-a-path"]', "atlas.toml: models: expected name=path-or-hub-id with a name of"),
        ('models = {"a/b" = "x"}', "atlas.toml: models: expected name=path-or-hub-id with a name of"),
        ('api_keys = ["ann:read:my-real-secret"]', "atlas.toml: api_keys: expected name:scope:sha256-of-key"),
        ("api_keys = 3", "atlas.toml: api_keys: input should be a valid tuple"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"PROMPTATLAS_CONFIG": config(tmp_path, text)})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "my-real-secret" not in str(caught.value)


def test_a_wrong_secret_is_named_and_not_shown(tmp_path: Path) -> None:
    folder = secret(tmp_path, "api_keys", "ann:read:my-real-secret")
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"PROMPTATLAS_SECRETS_DIR": folder})
    assert str(caught.value).startswith(f"{folder}/api_keys: expected name:scope:sha256-of-key")
    assert "my-real-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("PROMPTATLAS_CONFIG", "expected the path of a TOML file"),
        ("PROMPTATLAS_SECRETS_DIR", "expected the path of a folder"),
    ],
)
def test_what_the_environment_names_must_exist(tmp_path: Path, variable: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}: {expected}, got '.*missing'"):
        Settings.from_environ({variable: str(tmp_path / "missing")})


def test_unreadable_files_are_one_line(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"PROMPTATLAS_CONFIG: .* cannot be read as TOML: 'utf-8' codec"):
        Settings.from_environ({"PROMPTATLAS_CONFIG": str(binary)})
    folder = secret(tmp_path, "of_another_program", "x")
    (tmp_path / "secrets" / "redis_url").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"PROMPTATLAS_SECRETS_DIR: .* cannot be read: .*redis_url.*not UTF-8"):
        Settings.from_environ({"PROMPTATLAS_SECRETS_DIR": folder})
    (tmp_path / "secrets" / "redis_url").unlink()
    (tmp_path / "secrets" / "redis_url").mkdir()
    with pytest.raises(SettingsError, match="found a directory instead"):
        Settings.from_environ({"PROMPTATLAS_SECRETS_DIR": folder})


def test_the_constructor_does_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "PROMPTATLAS_PORT"):
        monkeypatch.setenv(name, "9999")
    assert Settings().port == 8000
    assert Settings.model_validate({}).port == 8000


def test_the_variable_that_kubernetes_sets_for_a_service_is_explained() -> None:
    with pytest.raises(SettingsError, match=r"PROMPTATLAS_PORT: .* got 'tcp://10.0.0.1:8000'; Kubernetes sets this"):
        Settings.from_environ({"PROMPTATLAS_PORT": "tcp://10.0.0.1:8000"})


def test_unknown_variables_are_named_with_the_nearest_setting() -> None:
    fine = (
        "CONFIG",
        "SECRETS_DIR",
        "URL",
        "API_KEY",
        "TEST_DATA",
        "SERVICE_HOST",
        "PORT_8000_TCP_ADDR",
        "PORT",
        "HOME",
    )
    environ = dict.fromkeys([*(f"PROMPTATLAS_{name}" for name in fine), "PATH"], "x")
    with capture_logs() as logs:
        warn_of_unknown_variables(environ, known=Settings.model_fields)
        assert logs == []
        warn_of_unknown_variables(
            {**environ, "PROMPTATLAS_MODLES": "secret", "PROMPTATLAS_ZZZ": ""}, known=Settings.model_fields
        )
    assert [(log["log_level"], log["variable"], log["nearest"]) for log in logs] == [
        ("warning", "PROMPTATLAS_MODLES", "PROMPTATLAS_MODELS"),
        ("warning", "PROMPTATLAS_ZZZ", None),
    ]
    assert "secret" not in str(logs)
