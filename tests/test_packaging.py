"""The two wheels: their names, files, imports and requirements."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from types import ModuleType

import pytest
import tomllib

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "packaging" / "server"
NAMESPACE = "promptatlas_server"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return built(SERVER, tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return built(ROOT, tmp_path_factory.mktemp("sdk"))


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", SERVER / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(source: Path, folder: Path) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


def described(wheel: zipfile.ZipFile) -> Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


def requirements(wheel: zipfile.ZipFile, *, extra: str | None = None) -> set[str]:
    """Requirements of a wheel or of one of its extras, lower case, without quotes and spaces."""
    lines = [line.replace(" ", "").replace("'", '"') for line in described(wheel).get_all("Requires-Dist", [])]
    suffix = f';extra=="{extra}"'
    wanted = (
        [line for line in lines if line.endswith(suffix)]
        if extra
        else [line for line in lines if "extra==" not in line]
    )
    return {line.removesuffix(suffix).lower() for line in wanted}


def stated(*extras: str) -> set[str]:
    """Requirements of extras in pyproject.toml, in the form of :func:`requirements`, without the project's own."""
    lines = [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    return {line.replace(" ", "").replace("'", '"').lower() for line in lines if not line.startswith("promptatlas[")}


def top_levels(wheel: zipfile.ZipFile) -> set[str]:
    return {name.split("/")[0] for name in wheel.namelist()}


def tracked(*folders: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, check=True, capture_output=True, text=True)
    return listed.stdout.splitlines()


def test_each_wheel_has_one_top_level_package(server: zipfile.ZipFile, sdk: zipfile.ZipFile) -> None:
    version = PROJECT["version"]
    assert top_levels(server) == {NAMESPACE, f"{NAMESPACE}-{version}.dist-info"}
    assert top_levels(sdk) == {"promptatlas", f"promptatlas-{version}.dist-info"}


def test_the_server_has_all_code_the_page_and_the_demo(server: zipfile.ZipFile) -> None:
    expected = tracked("service", "workers", "clients/web", "demo/model", "demo/data", "LICENSE")
    assert {"service/app.py", "workers/jobs.py", "clients/web/index.html", "demo/model/model.safetensors"} < set(
        expected
    )
    files = {name for name in server.namelist() if name.startswith(f"{NAMESPACE}/")}
    assert {f"{NAMESPACE}/{name}" for name in expected} <= files
    more = {name.removeprefix(f"{NAMESPACE}/") for name in files} - set(expected)
    # A file that is not tracked yet may be in the folders of the code.
    own = {name for name in more if not name.startswith(("service/", "workers/", "clients/", "demo/"))}
    assert own == {"__init__.py", "commands.py"}
    assert not [name for name in more if "__pycache__" in name or name.endswith((".pyc", ".log"))]


def test_the_namespace_is_the_only_difference_from_the_repository(server: zipfile.ZipFile) -> None:
    for name in tracked("service", "workers", "clients/web", "demo/model", "demo/data"):
        content = server.read(f"{NAMESPACE}/{name}")
        assert content.replace(f"{NAMESPACE}.".encode(), b"") == (ROOT / name).read_bytes(), name


def test_a_wheel_from_the_source_distribution_is_the_same(server: zipfile.ZipFile, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=SERVER, check=True, capture_output=True)
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        if hasattr(tarfile, "data_filter"):
            files.extractall(tmp_path, filter="data")
        else:  # Python 3.11.3 and earlier
            files.extractall(tmp_path)
    wheel = built(tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path / "dist")
    assert Path(str(wheel.filename)).read_bytes() == Path(str(server.filename)).read_bytes()


def test_no_import_or_dotted_name_is_left_outside_the_namespace(server: zipfile.ZipFile) -> None:
    imported, named = set(), set()
    for name in server.namelist():
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(server.read(name), filename=name)):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, name
                imported.add(node.module)
            elif isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                named.update(re.findall(r"(?<![\w.])(?:service|workers)\.\w+[.:][\w.:]+", node.value))
    assert not [name for name in imported if str(name).split(".")[0] in ("service", "workers", "demo")]
    assert f"{NAMESPACE}.service.engine.engine" in imported
    # Names of jobs in Redis are those of every other installation.
    assert named == {"workers.jobs.run", "workers.jobs.help_run"}


def test_all_modules_can_be_imported_without_the_repository(server: zipfile.ZipFile, tmp_path: Path) -> None:
    server.extractall(tmp_path)
    program = f"""
import importlib, importlib.abc, pkgutil, sys

class NoRepository(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("service", "workers", "demo"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoRepository())
sys.path.insert(0, {str(tmp_path)!r})
import {NAMESPACE}
names = [module.name for module in pkgutil.walk_packages({NAMESPACE}.__path__, "{NAMESPACE}.")]
for name in names:
    importlib.import_module(name)
from {NAMESPACE}.service.api.routes.page import default_page_path
from {NAMESPACE}.service.queueing.queue import RUN_JOB
from {NAMESPACE}.service.settings import Settings
from {NAMESPACE}.workers.jobs import KINDS, run
from {NAMESPACE}.workers.running.pool import work_horse
from rq.utils import import_attribute
assert (default_page_path() / "index.html").is_file()
Settings().require_models()
for work in KINDS.values():
    import_attribute(work.replace(":", "."))
assert import_attribute(work_horse._PARENT + RUN_JOB) is run
print(len(names))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len([name for name in tracked("service", "workers") if not name.endswith("__init__.py")])


def test_the_server_requires_what_its_code_requires(server: zipfile.ZipFile, sdk: zipfile.ZipFile) -> None:
    metadata = described(server)
    assert (metadata["Name"], metadata["Version"]) == ("promptatlas-server", PROJECT["version"])
    assert requirements(server) == stated("dev-service", "dev-workers") | {f"promptatlas=={PROJECT['version']}"}
    assert metadata.get_all("Provides-Extra") == ["gguf", "hub", "otel", "postgresql", "s3"]
    assert requirements(server, extra="s3") == {"obstore>=0.9"}
    assert requirements(server, extra="hub") == stated("hub")
    # The SDK needs none of it, and no extra of its own looks like the server.
    assert not {line.split("=")[0] for line in requirements(sdk)} & {"torch", "litserve", "transformers", "rq", "redis"}
    assert not {"service", "workers"} & set(described(sdk).get_all("Provides-Extra") or [])


def test_commands_start_the_service_and_the_workers(server: zipfile.ZipFile) -> None:
    [name] = [name for name in server.namelist() if name.endswith("entry_points.txt")]
    lines = server.read(name).decode().splitlines()
    assert f"promptatlas-server = {NAMESPACE}.commands:serve" in lines
    assert f"promptatlas-worker = {NAMESPACE}.commands:work" in lines


@pytest.mark.parametrize(
    ("command", "arguments", "setting", "status", "output"),
    [
        ("serve", ["--version"], ("PORT", "8000"), 0, f"{PROJECT['version']}\n"),
        ("work", ["--version"], ("PORT", "8000"), 0, f"{PROJECT['version']}\n"),
        ("serve", ["--port=1"], ("PORT", "8000"), 2, "unrecognized arguments: --port=1"),
        ("serve", [], ("PORT", "no"), 2, "promptatlas: PROMPTATLAS_PORT: "),
        (
            "serve",
            ["key", "create", "--name", "ann", "--scope", "read"],
            ("PORT", "no"),
            0,
            '{"name":"ann","scope":"read",',
        ),
        ("work", [], ("REDIS_URL", ""), 2, "promptatlas: PROMPTATLAS_REDIS_URL must be set"),
        ("work", ["--check"], ("REDIS_URL", "redis://127.0.0.1:1"), 1, "promptatlas: "),
    ],
)
def test_a_command_reads_arguments_and_settings(
    server: zipfile.ZipFile,
    tmp_path: Path,
    *,
    command: str,
    arguments: list[str],
    setting: tuple[str, str],
    status: int,
    output: str,
) -> None:
    server.extractall(tmp_path)
    program = f"import sys; from {NAMESPACE}.commands import {command}; sys.exit({command}())"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=tmp_path,
        env={**os.environ, f"PROMPTATLAS_{setting[0]}": setting[1]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert output in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_strings_comments_and_imports_are_rewritten(hooks: ModuleType) -> None:
    source = '''"""Uses ``service.store`` and ``python -m workers``; not service.log."""
from service.store import artifacts
from workers import jobs  # see workers.jobs
import service.errors as errors
service = "service"
log = service.store, "service.access", "service/app.py", "a.service.store", "workers.jobs.run"
run = ["-m", "workers"], find_spec("service"), "–", "from service.app import run"
if run: from service import app
x = "\u2028 \x0c", "service.app"
'''
    assert hooks.rewrite(source, root=ROOT).split("\n") == [
        '"""Uses ``promptatlas_server.service.store`` and ``python -m promptatlas_server.workers``; not service.log."""',
        "from promptatlas_server.service.store import artifacts",
        "from promptatlas_server.workers import jobs  # see promptatlas_server.workers.jobs",
        "import promptatlas_server.service.errors as errors",
        'service = "service"',
        'log = service.store, "service.access", "service/app.py", "a.service.store", "workers.jobs.run"',
        'run = ["-m", "promptatlas_server.workers"], find_spec("promptatlas_server.service"), "–", '
        '"from promptatlas_server.service.app import run"',
        "if run: from promptatlas_server.service import app",
        'x = "\u2028 \x0c", "promptatlas_server.service.app"',
        "",
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("\nimport service.errors\n", r"line 2: expected `from service… import`, got `import`"),
        ("x = f'{y} service.store'\n", r"line 1: expected no name of a module in an f-string, got"),
    ],
)
def test_code_that_cannot_be_rewritten_fails_the_build(hooks: ModuleType, source: str, message: str) -> None:
    with pytest.raises(hooks.UnsupportedCode, match=message):
        hooks.rewrite(source, root=ROOT)
