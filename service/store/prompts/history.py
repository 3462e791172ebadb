"""History of a tuned prompt: its draw, snapshots during training, and the final vectors, as far as its run kept them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from service.errors import DamagedArtifact, InvalidRequest, NotFound
from service.store.artifacts.tensor_codec import TensorFile, decode
from service.store.prompts.manifests import PromptManifest
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore

StageRole = Literal["draw", "snapshot", "posterior"]

_STEPS = "steps"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of the history. step: training step of a snapshot. tensors: as in the native format, float32."""

    role: StageRole
    tensors: Mapping[str, npt.NDArray[np.float32]]
    step: int | None = None


def history_of(
    manifest: PromptManifest, *, prompts: PromptStore, runs: RunStore, draws: bool, snapshots: bool
) -> list[Stage]:
    """Stages of a version in order; the prompt itself is last.

    Args:
        draws, snapshots: Whether to include them; stages that were not kept are left out.

    Raises:
        DamagedArtifact: A stage is damaged.
    """
    stages: list[Stage] = []
    if draws and (file := _output(runs, manifest, "draws")) is not None:
        stages.append(Stage(role="draw", tensors=file.tensors))
    if snapshots and (file := _output(runs, manifest, "snapshots")) is not None:
        stages += _snapshots(file, manifest)
    return [*stages, Stage(role="posterior", tensors=prompts.load(manifest).tensors)]


def labels_of(stage: Stage, manifest: PromptManifest) -> dict[str, Any]:
    """Map labels of the vectors of a stage; points with the same group are stages of one vector.

    positions: −n … −1; for a snapshot its step.
    """
    n = manifest.form.n_vectors(manifest.n_virtual)
    return {
        "role": stage.role,
        "positions": np.arange(-n, 0) if stage.step is None else np.full(n, stage.step),
        "group": [f"{manifest.ref} {i}" for i in range(n)],
        "prompt": manifest.ref,
    }


def _snapshots(file: TensorFile, manifest: PromptManifest) -> list[Stage]:
    stacked: dict[str, npt.NDArray[Any]] = dict(file.tensors)
    steps = stacked.pop(_STEPS, None)
    if steps is None or any(len(values) != len(steps) for values in stacked.values()):
        raise DamagedArtifact(f"The snapshots of prompt {manifest.ref} are damaged: expected one per step.")
    return [
        Stage(role="snapshot", step=step, tensors={name: values[i] for name, values in stacked.items()})
        for i, step in enumerate(steps.tolist())
    ]


def _output(runs: RunStore, manifest: PromptManifest, folder: str) -> TensorFile | None:
    if manifest.run_id is None:
        return None
    path = f"{folder}/{manifest.ref}.safetensors"
    try:
        return decode(runs.read_output(manifest.run_id, path))
    except NotFound:
        return None
    except InvalidRequest as error:
        raise DamagedArtifact(f"{path} of run {manifest.run_id} is damaged: {error.detail}") from None
