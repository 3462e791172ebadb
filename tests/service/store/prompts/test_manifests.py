from __future__ import annotations

import pytest

from service.errors import DamagedArtifact, InvalidRequest
from service.store.prompts.manifests import (
    PromptManifest,
    Provenance,
    Reference,
    check_alias,
    check_name,
    parse_reference,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("qa", Reference(name="qa")),
        ("7", Reference(name="7")),
        ("qa-fitted.v2_x", Reference(name="qa-fitted.v2_x")),
        ("qa@3", Reference(name="qa", version=3)),
        ("qa@live", Reference(name="qa", alias="live")),
        ("qa@3rd", Reference(name="qa", alias="3rd")),
        (DIGEST, Reference(sha256=DIGEST)),
        ("a" * 64, Reference(name="a" * 64)),
    ],
)
def test_references(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "qa@",
        "@3",
        "qa@0",
        "qa@03",
        "qa@-1",
        "qa@Live",
        "QA",
        "-qa",
        "qa@@3",
        "qa@3@4",
        "../etc",
        "qa/../x",
        "qa@../x",
        "qa\n",
        "qa@3\n",
        "qa@live\n",
        "sha256:abc",
        DIGEST.upper(),
        DIGEST[:-1],
        DIGEST + "0",
        "a" * 65,
        "qa@" + "a" * 65,
        "qa@" + "9" * 30,
        "qa@٣",
        "ä",
    ],
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidRequest, match="A prompt reference is"):
        parse_reference(text)


@pytest.mark.parametrize("name", ["", "A", ".x", "a/b", "..", "a" * 65, "a\n", "a b", "é"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InvalidRequest, match="A name has"):
        check_name(name)
    with pytest.raises(InvalidRequest, match="An alias has the form"):
        check_alias(name)


def test_an_alias_of_digits_would_be_a_version() -> None:
    assert check_name("12") == "12"
    assert check_alias("12th") == "12th"
    with pytest.raises(InvalidRequest, match="would be a version"):
        check_alias("12")


def test_metrics_are_finite() -> None:
    with pytest.raises(InvalidRequest, match="'test/loss' is nan"):
        Provenance(metrics={"test/f1": 0.5, "test/loss": float("nan")})


def test_a_manifest_that_lacks_a_field_is_damaged() -> None:
    with pytest.raises(DamagedArtifact, match="prompt qa@1 is damaged: its manifest lacks 'name'"):
        PromptManifest.from_json({"version": 1}, label="prompt qa@1")
