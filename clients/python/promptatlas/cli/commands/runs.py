"""``promptatlas runs``."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from promptatlas import Run
from promptatlas.cli.connection import client_for
from promptatlas.cli.options import ApiKey, AsJson, RunArgument, Url, WatchOption, Yes, examples
from promptatlas.cli.output import confirm_deletion, print_deleted, print_fields, print_json, print_table
from promptatlas.cli.watching import print_started, watch
from promptatlas.types import RunKind, RunStatus


def list_runs(
    context: typer.Context,
    kind: Annotated[RunKind | None, typer.Option("--kind", "-k", help="Only runs of this kind.")] = None,
    status: Annotated[RunStatus | None, typer.Option("--status", "-s", help="Only runs with this status.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", "-t", help="Only runs with this tag.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Maximum number of rows.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List runs, newest first."""
    with client_for(context, url, api_key) as client:
        pages = client.runs.list(kind=kind, status=status, tag=tag, limit=limit)
        rows = list(islice(pages, limit))
    if as_json:
        print_json([row.info for row in rows])
        return
    cells = [(row.id, row.kind, row.status, _progress(row), row.name, row.info.created_at.isoformat()) for row in rows]
    print_table(("id", "kind", "status", "progress", "name", "created_at"), cells)


def _progress(run: Run) -> str:
    if run.status == "queued" and run.info.queue_position is not None:
        return f"{run.info.queue_position} before it"
    return str(run.progress.step) if run.progress.total is None else f"{run.progress.step}/{run.progress.total}"


def get_run(
    context: typer.Context, run_id: RunArgument, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Show a run."""
    with client_for(context, url, api_key) as client:
        run = client.runs.get(run_id)
    (print_json if as_json else print_fields)(run.info)


def watch_run(
    context: typer.Context, run_id: RunArgument, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Wait for a run, and show its progress and the loss of each member. Exit code 1 if it fails."""
    with client_for(context, url, api_key) as client:
        watch(client.runs.get(run_id), as_json=as_json)


def cancel_run(
    context: typer.Context, run_id: RunArgument, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """Cancel a run. It keeps its last checkpoint."""
    with client_for(context, url, api_key) as client:
        run = client.runs.get(run_id).cancel()
    print_started(run, as_json=as_json)


def resume_run(
    context: typer.Context,
    run_id: RunArgument,
    watched: WatchOption = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Resume a failed or cancelled run from its last checkpoint."""
    with client_for(context, url, api_key) as client:
        run = client.runs.get(run_id).resume()
        (watch if watched else print_started)(run, as_json=as_json)


def annotate_run(
    context: typer.Context,
    run_id: RunArgument,
    notes: Annotated[str | None, typer.Option("--notes", help="Replaces the notes; empty: none.")] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", "-t", help="Replaces the tags; repeatable.")] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Remove all tags.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Set the notes and tags of a run."""
    if no_tags and tags:
        raise typer.BadParameter("expected --tag or --no-tags, got both")
    if notes is None and not tags and not no_tags:
        raise typer.BadParameter("expected --notes, --tag or --no-tags, got none of them")
    with client_for(context, url, api_key) as client:
        run = client.runs.get(run_id).annotate(notes=notes, tags=[] if no_tags else tags or None)
    (print_json if as_json else print_fields)(run.info)


def delete_run(
    context: typer.Context,
    run_id: RunArgument,
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Delete a run that has ended, with its artifacts. Its prompts are kept."""
    confirm_deletion(run_id, yes=yes)
    with client_for(context, url, api_key) as client:
        client.runs.delete(run_id)
    print_deleted(run_id, as_json=as_json)


def show_events(
    context: typer.Context,
    run_id: RunArgument,
    after: Annotated[int, typer.Option("--after", min=0, help="Only events after the one with this id.")] = 0,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Print the events of a run until it ends. With --json, one object a line."""
    with client_for(context, url, api_key) as client:
        for event in client.runs.get(run_id).events(after=after):
            if as_json:
                typer.echo(event.model_dump_json())
            else:
                fields = "  ".join(f"{name}={_shown(value)}" for name, value in event.data.items())
                typer.echo(f"{event.id}  {event.type}  {fields}")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def list_artifacts(
    context: typer.Context, run_id: RunArgument, as_json: AsJson = False, url: Url = None, api_key: ApiKey = None
) -> None:
    """List the artifacts of a run."""
    with client_for(context, url, api_key) as client:
        found = client.runs.get(run_id).artifacts
    if as_json:
        print_json(found)
    else:
        print_table(("path", "n_bytes", "sha256"), [(file.path, file.n_bytes, file.sha256) for file in found])


def download(
    context: typer.Context,
    run_id: RunArgument,
    path: Annotated[str | None, typer.Argument(help="Path of one artifact; default: all of them.")] = None,
    to: Annotated[Path, typer.Option("--to", "-o", help="File or folder to write.")] = Path(),
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Download one artifact of a run, or all of them into a folder."""
    with client_for(context, url, api_key) as client:
        run = client.runs.get(run_id)
        paths = run.download_all(to=to) if path is None else [run.download(path, to=to)]
    if as_json:
        print_json([{"path": str(file), "bytes": file.stat().st_size} for file in paths])
        return
    for file in paths:
        typer.echo(f"{file}: {file.stat().st_size} bytes")


def commands() -> typer.Typer:
    """The group ``runs``."""
    group = typer.Typer(no_args_is_help=True, help="Runs: long jobs on the workers.")
    lists = ("promptatlas runs list", "promptatlas runs list --kind tune --status running --json")
    downloads = (
        "promptatlas runs download run-1 evaluation.jsonl",
        "promptatlas runs download run-1 --to results/",
    )
    group.command("list", epilog=examples(*lists))(list_runs)
    group.command("get", epilog=examples("promptatlas runs get run-1"))(get_run)
    group.command("watch", epilog=examples("promptatlas runs watch run-1"))(watch_run)
    group.command("cancel", epilog=examples("promptatlas runs cancel run-1"))(cancel_run)
    group.command("resume", epilog=examples("promptatlas runs resume run-1 --watch"))(resume_run)
    annotations = (
        'promptatlas runs annotate run-1 --notes "smaller rate diverged" --tag pilot --tag paper',
        "promptatlas runs annotate run-1 --no-tags",
    )
    group.command("annotate", epilog=examples(*annotations))(annotate_run)
    group.command("delete", epilog=examples("promptatlas runs delete run-1 --yes"))(delete_run)
    group.command("events", epilog=examples("promptatlas runs events run-1 --after 120 --json"))(show_events)
    group.command("artifacts", epilog=examples("promptatlas runs artifacts run-1"))(list_artifacts)
    group.command("download", epilog=examples(*downloads))(download)
    return group
