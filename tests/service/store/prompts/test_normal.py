"""Posteriors that are stored as a normal distribution: their draws, their file, and what is refused."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from service.errors import InvalidRequest, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.artifacts.tensor_codec import encode
from service.store.prompts.checks import BaseShape
from service.store.prompts.contents import PromptContents
from service.store.prompts.manifests import PromptManifest
from service.store.prompts.native_format import parse_native
from service.store.prompts.normal import drawn, normal_numbers
from service.store.prompts.store import PromptStore

RANK, SHAPE = 2, (4, 7)
HEADER = {"kind": "posterior", "member_kind": "soft", "base": "tiny", "normal": {"n_draws": 3, "seed": 5}}


def tensors(**changes: Any) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    directions = np.linalg.qr(generator.normal(size=(28, RANK)))[0].T
    found = {
        "mean.soft": generator.normal(size=SHAPE),
        "std.soft": np.array([0.3]),
        "directions.soft": directions.reshape(RANK, *SHAPE),
        "curvatures": np.array([24.0, 3.0]),
    }
    return {name: np.asarray(values, dtype=np.float32) for name, values in {**found, **changes}.items()}


def test_numbers_are_independent_and_normal() -> None:
    found = np.stack([normal_numbers(5001, seed=3, index=i) for i in range(40)])
    assert scipy.stats.kstest(found.ravel(), "norm").pvalue > 0.001
    correlations = np.asarray(np.corrcoef(found))[np.triu_indices(40, 1)]
    assert scipy.stats.kstest(correlations * 5001**0.5, "norm").pvalue > 0.001
    # The sines and cosines of the same pairs.
    assert abs(scipy.stats.pearsonr(found[:, :2500].ravel(), found[:, 2501:].ravel()).statistic) < 0.01
    np.testing.assert_array_equal(normal_numbers(7, seed=3, index=0), normal_numbers(7, seed=3, index=0))
    assert normal_numbers(2, seed=4, index=0).tolist() != normal_numbers(2, seed=3, index=0).tolist()


def test_numbers_do_not_change_between_versions() -> None:
    """From the raw numbers of Philox, by Box and Muller's formula in the standard library; a stored posterior keeps its draws."""
    digest = hashlib.blake2b(b"normal/3/11", digest_size=16).digest()
    raw = [int(x) for x in np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(4)]
    u = [((x >> 12) + 0.5) / 2**52 for x in raw]
    radii = [math.sqrt(-2 * math.log(u[i])) for i in (0, 2)]
    expected = [radii[k] * f(2 * math.pi * u[2 * k + 1]) for f in (math.cos, math.sin) for k in (0, 1)]
    np.testing.assert_allclose(normal_numbers(3, seed=3, index=11), expected[:3], rtol=1e-12)


def test_draws_have_the_covariance_of_the_factors() -> None:
    given = tensors()
    draws = np.stack([drawn(given, seed=1, index=i)["soft"].ravel() for i in range(6000)]).astype(np.float64)
    directions = given["directions.soft"].reshape(RANK, -1).astype(np.float64)
    precision = (np.eye(28) + directions.T @ np.diag([24.0, 3.0]) @ directions) / 0.3**2
    np.testing.assert_allclose(draws.mean(0), given["mean.soft"].ravel(), atol=0.02)
    np.testing.assert_allclose(np.cov(draws.T), np.linalg.inv(precision), atol=0.01)


def uploaded(base: BaseShape, home: Path) -> tuple[PromptManifest, ArtifactStore]:
    artifacts = ArtifactStore(str(home))
    file = parse_native(encode(tensors(), metadata=HEADER), bases=[base])
    return PromptStore(artifacts).create("qa", prompt=file)[0], artifacts


def test_an_uploaded_distribution_is_stored_and_downloaded(base: BaseShape, tmp_path: Path) -> None:
    manifest, artifacts = uploaded(base, tmp_path)
    store = PromptStore(artifacts)
    assert manifest == store.resolve("qa", allows_posterior=True)
    assert (manifest.kind, manifest.member_kind, manifest.members) == ("posterior", "soft", None)
    assert (manifest.normal, manifest.n_members, manifest.n_virtual) == ({"n_draws": 3, "seed": 5}, 3, 4)
    again = parse_native(store.content(manifest), bases=[base])
    assert again.sha256 == manifest.sha256
    assert store.create("qa", prompt=again) == (manifest, False)
    with pytest.raises(InvalidRequest, match="a posterior of 3 prompts"):
        store.resolve("qa")


def test_the_hash_covers_the_seed_of_the_draws(base: BaseShape) -> None:
    found = {
        parse_native(encode(tensors(), metadata={**HEADER, "normal": normal}), bases=[base]).sha256
        for normal in ({"n_draws": 3, "seed": 5}, {"n_draws": 3, "seed": 6}, {"n_draws": 4, "seed": 5})
    }
    assert len(found) == 3


@pytest.mark.parametrize("index", [0, 2, 3, 2**53 - 1])
def test_any_draw_is_loaded_by_its_number(base: BaseShape, tmp_path: Path, index: int) -> None:
    manifest, artifacts = uploaded(base, tmp_path)
    found = PromptContents(artifacts).load(f"{manifest.sha256}#{index}", ref=manifest.ref)
    assert found.kind == "soft"
    np.testing.assert_array_equal(found.tensors["soft"], drawn(tensors(), seed=5, index=index)["soft"])


def test_a_draw_has_a_number_from_0(base: BaseShape, tmp_path: Path) -> None:
    manifest, artifacts = uploaded(base, tmp_path)
    with pytest.raises(NotFound, match="got -1"):
        PromptContents(artifacts).load(f"{manifest.sha256}#-1")


@pytest.mark.parametrize(
    ("changes", "header", "message"),
    [
        ({"curvatures": np.zeros((RANK, 1))}, {}, "'curvatures'"),
        ({"curvatures": np.array([1.0, -1.0])}, {}, "'curvatures' must hold positive values"),
        ({"std.soft": np.zeros(1)}, {}, "'std.soft' must hold positive values"),
        ({"std.soft": np.float32(0.3)}, {}, "'std.soft'"),
        ({"directions.soft": np.zeros((RANK, 4, 6))}, {}, "'directions.soft'"),
        ({"mean.soft": np.full(SHAPE, np.nan)}, {}, "not finite"),
        ({"soft": np.zeros(SHAPE)}, {}, "wrong or missing here: 'soft'"),
        ({}, {"normal": {"n_draws": 0}}, "normal.n_draws"),
        ({}, {"kind": "soft", "member_kind": None}, "'normal' is for posteriors"),
        ({}, {"normal": None}, "A soft prompt holds one tensor|same 1 to 1024 members"),
    ],
)
def test_files_that_are_no_distribution_are_refused(
    base: BaseShape, changes: dict[str, Any], header: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_native(encode(tensors(**changes), metadata={**HEADER, **header}), bases=[base])


def test_the_mean_must_fit_the_base(base: BaseShape) -> None:
    given = {**tensors(), "mean.soft": np.zeros((4, 6)), "directions.soft": np.zeros((RANK, 4, 6))}
    with pytest.raises(InvalidRequest, match="must have shape"):
        parse_native(encode(given, metadata=HEADER), bases=[base])
