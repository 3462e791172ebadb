from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import ApiKey, ModelSource, Settings, SettingsError, default_model_path, is_loopback

HASH = "a" * 64


def test_by_default_the_demo_model_is_served_on_loopback() -> None:
    settings = Settings.from_environ({})
    assert (settings.host, settings.port, settings.home, settings.log) == ("127.0.0.1", 8000, "./.atlas", "text")
    assert [source.name for source in settings.model_sources] == ["demo"]
    assert settings.redis_url is None
    assert settings.api_keys == ()


def test_variables_are_read_from_the_mapping_and_empty_ones_are_unset() -> None:
    settings = Settings.from_environ(
        {
            "PROMPTATLAS_HOST": "0.0.0.0",
            "PROMPTATLAS_PORT": " 9000 ",
            "PROMPTATLAS_MODELS": "a=/models/a, b=org/b,",
            "PROMPTATLAS_API_KEYS": f"ann:read:{HASH},bob:admin:{HASH.upper()}",
            "PROMPTATLAS_ALLOWED_HOSTS": "Atlas.example, [fd00::7]:8443,*",
            "PROMPTATLAS_ALLOWED_ORIGINS": "https://Notes.example:8443,vscode-webview://abc",
            "PROMPTATLAS_LOG": "json",
            "PROMPTATLAS_DTYPE": "",
            "PROMPTATLAS_MAX_BATCH": "7",
            "PROMPTATLAS_GRACE_S": "1.5",
            "PROMPTATLAS_URL": "http://the.sdk/reads/this",
            "PORT": "1",
        }
    )
    assert (settings.host, settings.port, settings.dtype, settings.log) == ("0.0.0.0", 9000, "auto", "json")
    assert settings.models == (ModelSource(name="a", path="/models/a"), ModelSource(name="b", path="org/b"))
    assert settings.api_keys == (
        ApiKey(name="ann", scope="read", sha256=HASH),
        ApiKey(name="bob", scope="admin", sha256=HASH),
    )
    assert settings.allowed_hosts == ("atlas.example", "[fd00::7]:8443", "*")
    assert settings.allowed_origins == ("https://notes.example:8443", "vscode-webview://abc")
    assert (settings.max_batch, settings.grace_s) == (7, 1.5)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"PORT": "x"}, "PROMPTATLAS_PORT: input should be a valid integer"),
        ({"PORT": "65536"}, "PROMPTATLAS_PORT"),
        ({"LOG": "xml"}, "PROMPTATLAS_LOG: input should be 'json' or 'text', got 'xml'"),
        ({"MODELS": "path-only"}, "PROMPTATLAS_MODELS: expected name=path-or-hub-id"),
        ({"MODELS": "a:b=/x"}, "PROMPTATLAS_MODELS"),
        ({"MODELS": "a=/x,a=/y"}, "'a' is given twice"),
        ({"ENGINES": "0"}, "PROMPTATLAS_ENGINES"),
        ({"ENGINES": "demo;"}, "PROMPTATLAS_ENGINES: expected a number of engines, or models by engine such as a,b;c"),
        ({"ENGINES": "other"}, "PROMPTATLAS_ENGINES: 'other' is not the name of one of PROMPTATLAS_MODELS"),
        ({"MODELS": "a=/x,b=/y", "ENGINES": "a;a"}, "PROMPTATLAS_ENGINES: 'b' has no engine"),
        (
            {"ENGINES": "2", "DEVICE_MAP": "auto"},
            "PROMPTATLAS_ENGINES: expected one engine with PROMPTATLAS_DEVICE_MAP",
        ),
        (
            {"ENGINES": "2", "TENSOR_PARALLEL": "2"},
            "PROMPTATLAS_ENGINES: expected one engine with PROMPTATLAS_TENSOR_PARALLEL",
        ),
        ({"TENSOR_PARALLEL": "0"}, "PROMPTATLAS_TENSOR_PARALLEL: input should be greater than or equal to 1"),
        ({"READ_MODELS": "path-only"}, "PROMPTATLAS_READ_MODELS: expected name=path-or-hub-id"),
        (
            {"MODELS": "a=/x", "READ_MODELS": "a=/y"},
            "PROMPTATLAS_READ_MODELS: 'a' is already the name of a hosted model",
        ),
        ({"API_KEYS": "ann:read:short"}, "PROMPTATLAS_API_KEYS: expected name:scope:sha256"),
        ({"API_KEYS": f"ann:owner:{HASH}"}, "PROMPTATLAS_API_KEYS"),
        ({"TIMEOUT_S": "nan"}, "PROMPTATLAS_TIMEOUT_S"),
        ({"ALLOWED_HOSTS": "http://a.example"}, "PROMPTATLAS_ALLOWED_HOSTS: expected host names"),
        ({"ALLOWED_HOSTS": "a.example,*"}, "PROMPTATLAS_ALLOWED_HOSTS: '*' needs PROMPTATLAS_API_KEYS"),
        ({"ALLOWED_ORIGINS": "*"}, "PROMPTATLAS_ALLOWED_ORIGINS: expected origins"),
        ({"ALLOWED_ORIGINS": "https://a.example/"}, "PROMPTATLAS_ALLOWED_ORIGINS: expected origins"),
        ({"ALLOWED_ORIGINS": "null"}, "PROMPTATLAS_ALLOWED_ORIGINS: expected origins"),
        ({"HOST": "0.0.0.0"}, "PROMPTATLAS_API_KEYS or PROMPTATLAS_API_KEYS_FILE must be set"),
        ({"HOST": "::"}, "PROMPTATLAS_API_KEYS or PROMPTATLAS_API_KEYS_FILE must be set"),
        ({"HOST": "example.org"}, "PROMPTATLAS_API_KEYS or PROMPTATLAS_API_KEYS_FILE must be set"),
    ],
)
def test_invalid_settings_are_refused_in_one_line(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({f"PROMPTATLAS_{name}": value for name, value in environ.items()})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_in_place_of_its_hash_is_not_repeated() -> None:
    for text in ("ann:read:my-real-secret", "my-real-secret", "my-real-secret:read"):
        with pytest.raises(SettingsError) as caught:
            Settings.from_environ({"PROMPTATLAS_API_KEYS": text})
        assert "my-real-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_the_demo_model_is_next_to_the_package_or_under_the_working_directory(tmp_path: Path) -> None:
    found = default_model_path(cwd=tmp_path)
    assert found in (tmp_path / "demo" / "model", Path(__file__).resolve().parents[2] / "demo" / "model")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((name, name) for name in ("auto", "balanced", "balanced_low_0", "sequential", "cpu", "cuda:1")),
        (
            '{"model.embed_tokens": 0, "model.layers": "cuda:1", "lm_head": "cpu"}',
            {"model.embed_tokens": 0, "model.layers": "cuda:1", "lm_head": "cpu"},
        ),
        ("", None),
    ],
)
def test_device_maps_of_transformers_are_accepted(text: str, expected: object) -> None:
    settings = Settings.from_environ({"PROMPTATLAS_DEVICE_MAP": text})
    assert settings.device_map == expected
    # Work horses receive the settings as JSON.
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    "text", ["automatic", "gpu", "cuda:x", "{}", '{"a": -1}', '{"a": true}', '{"a": "disk"}', "[0, 1]", "3"]
)
def test_other_device_maps_are_refused_with_the_choices(text: str) -> None:
    with pytest.raises(
        SettingsError, match="PROMPTATLAS_DEVICE_MAP: expected auto, balanced, balanced_low_0, sequential"
    ):
        Settings.from_environ({"PROMPTATLAS_DEVICE_MAP": text})


def test_each_setting_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text("utf-8")
    assert [field for field in Settings.model_fields if f"PROMPTATLAS_{field.upper()}`" not in page] == []


def test_teachers_and_their_keys() -> None:
    environ = {
        "PROMPTATLAS_TEACHERS": "near=http://127.0.0.1:9000/v1/, far=https://api.example.com/v1",
        "PROMPTATLAS_TEACHER_KEYS": "far=sk-a=b",
    }
    settings = Settings.from_environ(environ)
    assert [(teacher.name, teacher.base_url) for teacher in settings.teachers] == [
        ("near", "http://127.0.0.1:9000/v1"),
        ("far", "https://api.example.com/v1"),
    ]
    assert [(item.name, item.key) for item in settings.teacher_keys] == [("far", "sk-a=b")]
    assert "sk-a" not in repr(settings)
    assert "sk-a" not in repr(settings.teacher_keys)
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"TEACHERS": "near"}, "expected name=base-url"),
        ({"TEACHERS": "near=ftp://host/v1"}, "expected name=base-url with http:// or https://"),
        ({"TEACHERS": "near=https://ann:my-secret@host/v1"}, "no user, query or fragment"),
        ({"TEACHERS": "near=https:///v1"}, "with a host"),
        ({"TEACHERS": "a b=https://host"}, "expected name=base-url"),
        ({"TEACHER_KEYS": "near=my-secret"}, "'near' is not the name of one of PROMPTATLAS_TEACHERS"),
        ({"TEACHERS": "near=https://host", "TEACHER_KEYS": "my-secret"}, "expected name=key"),
        ({"TEACHER_REQUESTS": "0"}, "greater than or equal to 1"),
    ],
)
def test_other_teachers_are_refused_without_secrets(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({f"PROMPTATLAS_{name}": text for name, text in environ.items()})
    assert message in str(caught.value)
    assert "my-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", [()]), ("3", [(), (), ()]), ("a, b; b", [("a", "b"), ("b",)])],
)
def test_engines_are_a_number_or_their_models(text: str, expected: list[tuple[str, ...]]) -> None:
    settings = Settings.from_environ({"PROMPTATLAS_MODELS": "a=/x,b=/y", "PROMPTATLAS_ENGINES": text})
    assert list(settings.engines) == expected
    # As a service passes them to its workers.
    assert Settings.model_validate_json(settings.model_dump_json()).engines == settings.engines
