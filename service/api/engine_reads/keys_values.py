"""Keys and values of a stored prompt, compiled by the engine."""

from __future__ import annotations

from service.api.requests.engine_requests import new_request_id
from service.api.services import Services
from service.engine.inputs import PromptChoice
from service.engine.requests import KeysValues
from service.errors import InvalidRequest
from service.hosting.ipc.messages import ExportPrompt
from service.hosting.ipc.tensor_results import OpenResult
from service.store.prompts.manifests import PromptManifest, require_base


async def keys_values_of(services: Services, manifest: PromptManifest, *, deadline_s: float) -> OpenResult:
    """A safetensors file with the keys and values of each layer; the caller closes it.

    Raises:
        InvalidRequest: the prompt's base model is not hosted with these weights, or the prompt has no keys and values in
            every layer.
        EngineUnavailable: the engine is starting or lost.
    """
    card = services.engine.require_engine().models.get(manifest.base)
    if card is None:
        raise InvalidRequest(
            f"The keys and values of {manifest.ref} are computed by its base model {manifest.base!r}, which is not hosted here.",
            loc=("format",),
        )
    require_base(manifest, base=manifest.base, revision=card["revision"], loc=("format",))
    choice = PromptChoice(parts=((manifest.sha256, 1.0),), refs=(manifest.ref,))
    header = {
        "kind": manifest.kind,
        "base": manifest.base,
        "base_revision": manifest.base_revision,
        "n_virtual": manifest.n_virtual,
        "sha256": manifest.sha256,
        "dtype": card["dtype"],
    }
    request = KeysValues(request_id=new_request_id(), prompt=choice)
    job = ExportPrompt(model=manifest.base, request=request, metadata=header)
    async with services.engine.open(job, deadline_s=deadline_s) as exchange:
        return await exchange.result()
