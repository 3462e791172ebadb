#!/usr/bin/env bash
# Builds both wheels, installs them into an empty environment and tries the server (packaging/try_server.py).
# Usage: [PYTHON=python3.12] [TORCH_ARGS="--index-url …"] packaging/try_install.sh [FOLDER]
# Without FOLDER, a temporary folder is used and removed. An environment in FOLDER is used again.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-}
if [ -z "$folder" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
python=$folder/env/bin/python
torch=$(sed -n 's/^ *"\(torch==[^"]*\)",$/\1/p' pyproject.toml)

test -x "$python" || "${PYTHON:-python3}" -m venv "$folder/env"
rm -rf "$folder/dist" "$folder/empty"
mkdir "$folder/empty"
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$folder/dist" . ./packaging/server
# shellcheck disable=SC2086  # several arguments
"$python" -m pip install --quiet ${TORCH_ARGS:-} "$torch"
"$python" -m pip install --quiet "$folder"/dist/*.whl
# The same version may be installed from an earlier build.
"$python" -m pip install --quiet --no-deps --force-reinstall "$folder"/dist/*.whl
"$python" -m pip check
cp packaging/try_server.py "$folder/try_server.py"
cd "$folder/empty"
env -u PYTHONPATH "$python" -P "$folder/try_server.py"
