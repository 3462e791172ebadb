"""History of tuned prompts: draws, snapshots and loss curves kept by the runs that tuned them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from promptatlas.types.forms import FORMS, PromptKind

from service.errors import AtlasError, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.artifacts.tensor_codec import decode
from service.store.prompts.manifests import PromptManifest
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore
from workers.reports.evidence.evidence import Floats, TunedPrompt, prior_label


class PromptHistory:
    """Reads tuned prompts and the outputs of their runs."""

    def __init__(self, artifacts: ArtifactStore, *, prompts: PromptStore) -> None:
        self._prompts = prompts
        self._runs = RunStore(artifacts)
        self._curves: dict[str, Mapping[str, Sequence[tuple[int, float]]]] = {}

    def tuned(self, ref: str, *, base: str) -> TunedPrompt:
        """A prompt with its history; fields whose data was not kept are empty.

        Raises:
            NotFound, DamagedArtifact: The prompt itself is missing or damaged.
        """
        manifest = self._prompts.resolve(ref, base=base)
        notes = manifest.notes if isinstance(manifest.notes, dict) else {}
        return TunedPrompt(
            ref=manifest.ref,
            run_id=manifest.run_id,
            method=_method(manifest),
            prior=prior_label(manifest.prior),
            seed=manifest.seed,
            lr=notes.get("lr"),
            task=str((notes.get("dataset") or {}).get("name", "unknown")),
            metrics=manifest.metrics,
            vectors=_by_layer(self._prompts.load(manifest).tensors, kind=manifest.prompt_kind),
            draw=_by_layer(self._output(manifest, f"draws/{manifest.ref}.safetensors"), kind=manifest.prompt_kind),
            snapshots=_by_layer(
                self._output(manifest, f"snapshots/{manifest.ref}.safetensors"), kind=manifest.prompt_kind
            ),
            curve=self._curve(manifest),
        )

    def _output(self, manifest: PromptManifest, path: str) -> Mapping[str, Any]:
        if manifest.run_id is None:
            return {}
        try:
            return decode(self._runs.read_output(manifest.run_id, path)).tensors
        except AtlasError:
            # The run may be deleted or may not have kept snapshots.
            return {}

    def _curve(self, manifest: PromptManifest) -> Sequence[tuple[int, float]]:
        if manifest.run_id is None:
            return ()
        if manifest.run_id not in self._curves:
            self._curves[manifest.run_id] = self._read_curves(manifest.run_id)
        return self._curves[manifest.run_id].get(manifest.name, ())

    def _read_curves(self, run_id: str) -> Mapping[str, Sequence[tuple[int, float]]]:
        try:
            points = self._runs.metrics(run_id)
        except NotFound:
            return {}
        curves: dict[str, list[tuple[int, float]]] = {}
        for point in points:
            if point.get("member") is not None and point.get("validation_loss") is not None:
                curves.setdefault(point["member"], []).append((int(point["step"]), float(point["validation_loss"])))
        return curves


def _method(manifest: PromptManifest) -> str:
    if not manifest.form.is_layered:
        return manifest.prompt_kind
    where = f" {manifest.where}" if manifest.where else ""
    return f"{manifest.kind}{where} at {','.join(map(str, manifest.layers or ()))}"


def _by_layer(tensors: Mapping[str, Any], *, kind: PromptKind) -> dict[int, Floats]:
    """Native tensors as vectors `[…, n, d_model]`, by the number of blocks below them; empty for a kind without vectors."""
    form = FORMS[kind]
    if not form.has_vectors:
        return {}
    found: dict[int, Floats] = {}
    for name, values in tensors.items():
        if form.owns([name]):
            vectors = np.asarray(values, dtype=np.float32)
            found[form.state_layer(form.layer_of(name))] = vectors if form.takes_positions else vectors[..., None, :]
    return dict(sorted(found.items()))
