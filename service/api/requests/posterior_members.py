"""Members of posteriors that a request runs under: one drawn by its seed, or several whose predictions are averaged."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from promptatlas.types import PromptUsed
from promptatlas.types.references import MAX_MEMBERS, Ensemble, MixPart

from service.engine.inputs import PromptChoice
from service.errors import InvalidRequest
from service.store.prompts.manifests import PromptManifest

Chosen = tuple[PromptChoice, PromptUsed]


MAX_DRAWS = 2**53
"""Numbers of draws from a normal distribution are below this, so that every number in JSON is exact."""


def drawn_member(seed: int | None, *, n_members: int) -> int:
    """Index of the member that a seed draws: the first 8 bytes of blake2b of ``posterior/{seed}``, modulo ``n_members``.

    Without a seed the member is random.
    """
    if seed is None:
        return secrets.randbelow(n_members)
    digest = hashlib.blake2b(f"posterior/{seed}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % n_members


def draw_of(ref: str, manifest: PromptManifest, *, seed: int | None) -> Chosen:
    """The member of a posterior that ``seed`` draws."""
    members = manifest.members
    index = drawn_member(seed, n_members=MAX_DRAWS if members is None else len(members))
    choice = PromptChoice(parts=((f"{manifest.sha256}#{index}", 1.0),), refs=(manifest.ref,))
    used = PromptUsed(
        ref=ref,
        sha256=manifest.sha256 if members is None else members[index],
        kind=manifest.prompt_kind,
        n_virtual=manifest.n_virtual,
        member=index,
    )
    return choice, used


def ensemble_of(ref: Ensemble, manifests: Sequence[PromptManifest]) -> Chosen:
    """The first ``n`` of the prompts, each posterior replaced by its members; n_virtual is the largest of all.

    One normal distribution gives any number of draws, in a list of several references its default number.

    Raises:
        InvalidRequest: there are fewer than ``n``, or more than a request may average.
    """
    n_draws = ref.n if len(manifests) == 1 else None
    found = [(content, stored, m) for m in manifests for content, stored in _contents(m, n_draws=n_draws)]
    n = len(found) if ref.n is None else ref.n
    if n > len(found):
        raise InvalidRequest(f"Expected n of at most {len(found)}, the number of members, got {n}.", loc=_N)
    if n > MAX_MEMBERS:
        raise InvalidRequest(f"Expected at most {MAX_MEMBERS} members, got {n}; choose fewer with n.", loc=_N)
    chosen = found[:n]
    choice = PromptChoice(
        parts=tuple((content, 1.0) for content, _, _ in chosen),
        refs=tuple(manifest.ref for _, _, manifest in chosen),
        is_ensemble=True,
    )
    used = PromptUsed(
        ref=ref,
        kind=manifests[0].prompt_kind,
        n_virtual=max(manifest.n_virtual for _, _, manifest in chosen),
        parts=[MixPart(ref=sha256, weight=1.0 / n) for _, sha256, _ in chosen],
    )
    return choice, used


_N = ("prompt_ref", "n")


def _contents(manifest: PromptManifest, *, n_draws: int | None) -> list[tuple[str, str]]:
    """For each prompt: the hash that it is loaded by, and the hash of its content, or of the distribution of a draw.

    Args:
        n_draws: from a normal distribution; None: its default number.
    """
    if not manifest.is_posterior:
        return [(manifest.sha256, manifest.sha256)]
    if manifest.members is None:
        numbers = range(manifest.n_members if n_draws is None else n_draws)
        return [(f"{manifest.sha256}#{i}", manifest.sha256) for i in numbers]
    return [(f"{manifest.sha256}#{i}", sha256) for i, sha256 in enumerate(manifest.members)]
