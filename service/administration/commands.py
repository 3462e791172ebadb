"""``promptatlas-server admin``: garbage collection, check, index, backup and restore of the store.

Exit statuses: 0 done, nothing wrong; 1 something is damaged or could not be copied; 2 invalid arguments or settings, or
refused without a change; 3 a store failed; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from service.administration.copies.backup import back_up, restore
from service.administration.copies.destination import CopyReport
from service.administration.growth.collection import MIN_GRACE, Collection
from service.administration.growth.retention import Retention, limits_of
from service.administration.integrity.fsck import StoreCheck
from service.administration.inventory import Inventory
from service.administration.output import Output
from service.errors import AtlasError, Conflict, InvalidRequest, Unavailable
from service.settings import Settings, SettingsError
from service.store.artifacts.store import ArtifactStore
from service.store.files.addresses import address_of
from service.store.files.remote_files import open_files
from service.store.index.database import IndexUnavailable
from service.store.index.opening import open_index
from service.store.reindex import Reindex

OK, DAMAGED, REFUSED, FAILED, INTERRUPTED = 0, 1, 2, 3, 130

_EPILOG = (
    "The store is that of PROMPTATLAS_HOME. Exit status: 0 done; 1 something is damaged or was not copied; 2 invalid "
    "arguments or settings, or refused; 3 a store failed."
)


def main(arguments: Sequence[str], environ: Mapping[str, str], *, prog: str = "python -m service admin") -> int:
    """Run one command; returns its exit status. Messages about failures are on stderr, results on stdout."""
    parser = argparse.ArgumentParser(prog=prog, description="Administer the store.", epilog=_EPILOG)
    _add_commands(parser)
    return _perform(parser.parse_args(list(arguments)), environ)


def add_admin_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``admin`` to the commands of the server. Its function is the attribute ``perform`` of the arguments."""
    parser = commands.add_parser(
        "admin", help="administer the store", description="Administer the store.", epilog=_EPILOG
    )
    _add_commands(parser)
    parser.set_defaults(perform=_perform)


def _perform(parsed: argparse.Namespace, environ: Mapping[str, str]) -> int:
    output = Output(is_json=parsed.json)
    try:
        settings = Settings.from_environ(environ)
        command: Callable[[argparse.Namespace, Settings, Output], int] = parsed.command
        return command(parsed, settings, output)
    except (SettingsError, Conflict, InvalidRequest) as error:
        return _failure(error, status=REFUSED)
    except AtlasError as error:
        return _failure(error, status=FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED


def _add_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")

    def add(
        name: str, command: Callable[[argparse.Namespace, Settings, Output], int], about: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about, description=f"{about[:1].upper()}{about[1:]}.", epilog=_EPILOG)
        added.add_argument("--json", action="store_true", help="print one JSON object")
        added.set_defaults(command=command)
        return added

    gc = add("gc", _gc, "remove garbage, and what exceeds the limits PROMPTATLAS_KEEP_…")
    gc.add_argument("--dry-run", action="store_true", help="list what would be removed, and remove nothing")
    gc.add_argument(
        "--grace-hours",
        type=float,
        default=24.0,
        metavar="N",
        help="keep files without a reference that are younger, at least 1 (default: %(default)g)",
    )
    fsck = add("fsck", _fsck, "check every object of the store; reads all of it")
    fsck.add_argument("--repair", action="store_true", help="repair what can be repaired without a loss")
    add("reindex", _reindex, "compare the index of prompts, datasets and runs with the files, and repair it")
    backup = add("backup", _backup, "copy the store; only what has changed since the last backup to this destination")
    backup.add_argument("destination", help="a folder or an fsspec URL")
    restoring = add("restore", _restore, "copy a backup into the store, which must be empty")
    restoring.add_argument("source", help="a folder or an fsspec URL with a backup")
    restoring.add_argument(
        "--merge", action="store_true", help="allow a store with objects; existing ones stay as they are"
    )


def _gc(parsed: argparse.Namespace, settings: Settings, output: Output) -> int:
    if not parsed.grace_hours >= MIN_GRACE / timedelta(hours=1):
        raise InvalidRequest(f"--grace-hours must be 1 or more; it is {parsed.grace_hours:g}.")
    files = open_files(settings.home)
    artifacts = ArtifactStore(settings.home, files=files)
    inventory = Inventory(files)
    retention = Retention(artifacts, limits=limits_of(settings))
    collection = Collection(artifacts, files=files, grace=timedelta(hours=parsed.grace_hours))
    expiries, removals = retention.plan(inventory), collection.plan(inventory)
    if not parsed.dry_run:
        expiries, removals = list(retention.apply(expiries)), list(collection.apply(removals))
    output.collected(expiries, removals, is_dry_run=parsed.dry_run)
    return OK


def _fsck(parsed: argparse.Namespace, settings: Settings, output: Output) -> int:
    check = StoreCheck(open_files(settings.home))
    is_sound = output.findings(check.run(repair=parsed.repair), n_files=lambda: check.n_files)
    return OK if is_sound else DAMAGED


def _reindex(_parsed: argparse.Namespace, settings: Settings, output: Output) -> int:
    artifacts = ArtifactStore(settings.home)
    index = open_index(artifacts, home=settings.home, index=settings.index, cache=settings.cache)
    if index is None:
        raise InvalidRequest(
            f"There is no index: PROMPTATLAS_INDEX is {settings.index!r}, the store {settings.home!r}."
        )
    try:
        report = Reindex(artifacts, index=index).run()
    except IndexUnavailable as error:
        raise Unavailable(f"The index failed: {error}", retry_after_s=1) from error
    finally:
        index.database.close()
    output.reindexed(report)
    return OK


def _backup(parsed: argparse.Namespace, settings: Settings, output: Output) -> int:
    _require_apart(settings.home, parsed.destination)
    report = back_up(open_files(settings.home), open_files(parsed.destination), origin=address_of(settings.home))
    return _copied(report, output)


def _restore(parsed: argparse.Namespace, settings: Settings, output: Output) -> int:
    _require_apart(settings.home, parsed.source)
    return _copied(restore(open_files(parsed.source), open_files(settings.home), merge=parsed.merge), output)


def _require_apart(first: str, second: str) -> None:
    """Raise InvalidRequest if one of two stores is inside the other."""
    one, other = (f"{address_of(url)}/" for url in (first, second))
    if one.startswith(other) or other.startswith(one):
        raise InvalidRequest(f"Expected a folder apart from the store, got {second} and the store {first}.")


def _copied(report: CopyReport, output: Output) -> int:
    output.copied(report)
    return DAMAGED if report.problems else OK


def _failure(error: Exception, *, status: int) -> int:
    print(f"promptatlas: {error}", file=sys.stderr)
    return status
