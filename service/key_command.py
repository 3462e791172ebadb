"""``promptatlas-server key create``: a new API key, and its line for the file of keys."""

from __future__ import annotations

import argparse
import hashlib
import secrets
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from pydantic import ValidationError

from service.settings.api_keys import KEY_RECORD

_MARK = "promptatlas_"  # lets scanners of repositories recognise keys
_N_BYTES = 32


def add_key_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``key create`` to the commands of the server. Its function is the attribute ``perform`` of the arguments."""
    key = commands.add_parser("key", help="manage API keys")
    create = key.add_subparsers(title="commands", metavar="command", required=True).add_parser(
        "create",
        help="create an API key",
        description="Create an API key. The key goes to standard error, once; its line for the file of keys to standard output: "
        "append it with >> to the file of PROMPTATLAS_API_KEYS_FILE.",
    )
    create.add_argument("--name", required=True, help="owner of the key, as it appears in the log")
    create.add_argument("--scope", required=True, choices=("read", "write", "admin"))
    end = create.add_mutually_exclusive_group()
    end.add_argument("--expires", metavar="TIME", help="time of expiry, for example 2027-01-31T00:00:00Z")
    end.add_argument("--days", type=int, metavar="N", help="expires after N days")
    create.add_argument("--requests-per-minute", type=int, metavar="N")
    create.add_argument("--tokens-per-minute", type=int, metavar="N", help="input and generated tokens")
    create.add_argument("--max-rows", type=int, metavar="N", help="rows that run or wait at the same time")
    create.set_defaults(perform=_create)


def _create(arguments: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    key = f"{_MARK}{secrets.token_urlsafe(_N_BYTES)}"
    fields: dict[str, Any] = {
        "name": arguments.name,
        "scope": arguments.scope,
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "expires": arguments.expires,
        "requests_per_minute": arguments.requests_per_minute,
        "tokens_per_minute": arguments.tokens_per_minute,
        "max_rows": arguments.max_rows,
    }
    try:
        if arguments.days is not None:
            fields["expires"] = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=arguments.days)
        record = KEY_RECORD.validate_python(fields)
    except ValidationError as error:
        fault = error.errors()[0]
        option = str(fault["loc"][0]).replace("_", "-")
        print(f"promptatlas: --{option}: {fault['msg']}, got {fault['input']!r}", file=sys.stderr)
        return 2
    except OverflowError:
        print(f"promptatlas: --days: expected a time before the year 10000, got {arguments.days}", file=sys.stderr)
        return 2
    print(f"The key of {record.name}, which is not shown again:\n{key}", file=sys.stderr)
    print(KEY_RECORD.dump_json(record, exclude_none=True).decode(), flush=True)
    return 0
