"""Planning of ``batch`` runs."""

from __future__ import annotations

from promptatlas.types.batches import BatchSpec

from service.errors import AtlasError, InvalidRequest, NotFound
from service.planning.context import Resolver
from service.planning.specs import error_at

PURPOSE = "batch"
"""Of input files."""

COUNTS, FAULTS = "counts.json", "faults.json"
"""Outputs of the run: its counts of requests so far, and the faults of its input file."""

OUTPUT_FILE, ERRORS_FILE = "output", "errors"


def result_file_id(run_id: str, suffix: str) -> str:
    """Id of the file with the responses or the errors of a run."""
    return f"file-{run_id.removeprefix('run-')}-{suffix}"


def complete_batch(spec: BatchSpec, resolver: Resolver) -> BatchSpec:
    """The spec, if the model is hosted and the input file exists. Its lines are checked by the run.

    Raises:
        NotFound, InvalidRequest: at the field that cannot work.
    """
    base = resolver.model(spec.model)
    files = resolver.context.files
    if files is None:
        raise NotFound(f"There is no file {spec.input_file_id!r}.", loc=("input_file_id",))
    try:
        file = files.get(spec.input_file_id)
    except AtlasError as error:
        raise error_at(error, loc=("input_file_id",)) from error
    if file.purpose != PURPOSE:
        raise InvalidRequest(f"Expected a file with purpose {PURPOSE!r}, got {file.purpose!r}.", loc=("input_file_id",))
    if spec.endpoint == "/v1/chat/completions" and not resolver.card(base.name).get("has_chat_template", False):
        raise InvalidRequest(f"Expected /v1/completions: model {base.name!r} has no chat template.", loc=("endpoint",))
    return spec
