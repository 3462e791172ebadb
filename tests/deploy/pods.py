"""Containers of the manifests as processes: their commands and variables, with folders in place of volumes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.queueing.embedded_redis import find_server
from tests.deploy.manifests import ROOT, Object, variables_of, workloads
from tests.integration.running import PATIENCE_S, children_of, is_alive, wait_until

# Programs of the containers: python, redis-server and redis-cli.
BIN = [str(Path(program).parent) for program in (sys.executable, find_server()) if program is not None]


@dataclass(frozen=True, kw_only=True)
class Pods:
    """Starts containers of workloads.

    folder: of volumes and logs. secrets: data of each Secret by its name. variables: in place of those of the manifests, such as
    addresses of this host. ports: free ports of this host in place of those in commands.
    """

    folder: Path
    secrets: Mapping[str, Mapping[str, str]]
    variables: Mapping[str, str]
    ports: Mapping[str, int]

    @contextlib.contextmanager
    def running(self, workload: str) -> Iterator[Pod]:
        """The only container of a workload; its processes are killed at the end if they still run."""
        spec = workloads()[workload]["spec"]
        (container,) = spec["containers"]
        folder = self.folder / workload
        folder.mkdir()
        paths = self._mounted(container, volumes=spec.get("volumes", []), folder=folder)
        environ = self._environment(container, paths=paths)
        places = {**paths, **{port: str(free) for port, free in self.ports.items()}}
        command = [_moved(word, places) for word in (*container["command"], *container.get("args", ()))]
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=output, stderr=output)
        pod = Pod(process=process, environ=environ, log=log, places=places)
        try:
            yield pod
        finally:
            pod.kill()

    def _environment(self, container: Object, *, paths: Mapping[str, str]) -> dict[str, str]:
        found = variables_of(container)
        for source in container.get("envFrom", ()):
            if "secretRef" in source:
                found |= self.secrets[source["secretRef"]["name"]]
        for entry in container.get("env", ()):
            if "valueFrom" in entry:
                chosen = entry["valueFrom"]["secretKeyRef"]
                found[entry["name"]] = self.secrets[chosen["name"]][chosen["key"]]
        ours = {name: _moved(value, paths) for name, value in found.items()} | dict(self.variables)
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        path = os.pathsep.join((*BIN, os.environ["PATH"]))
        # The images have both packages on the path, and one thread is enough for the demo model.
        return {**kept, "PATH": path, "PYTHONPATH": str(ROOT / "clients" / "python"), "OMP_NUM_THREADS": "1", **ours}

    def _mounted(self, container: Object, *, volumes: Sequence[Object], folder: Path) -> dict[str, str]:
        """A folder for each mount path but ``/dev/shm``, with the files of Secrets."""
        by_name = {volume["name"]: volume for volume in volumes}
        paths = {}
        for mount in container["volumeMounts"]:
            if mount["name"] == "shm":
                continue
            place = folder / mount["name"]
            place.mkdir()
            paths[mount["mountPath"]] = str(place)
            if (secret := by_name.get(mount["name"], {}).get("secret")) is not None:
                data = self.secrets[secret["secretName"]]
                items = secret.get("items", [{"key": key, "path": key} for key in data])
                for item in items:
                    (place / item["path"]).write_text(data[item["key"]])
        return paths


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A running container. environ: its variables. log: what its processes wrote. places: folders and ports of this host."""

    process: subprocess.Popen[bytes]
    environ: Mapping[str, str]
    log: Path
    places: Mapping[str, str] = field(default_factory=dict)

    def execute(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end with the variables of the container, as the exec probes of a kubelet."""
        moved = [_moved(word, self.places) for word in command]
        return subprocess.run(
            moved, env=dict(self.environ), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S
        )

    def stop(self) -> int:
        """Send SIGTERM and wait; the exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """End the process and its children, if they still run."""
        if self.process.poll() is None:
            family = [self.process.pid, *children_of(self.process.pid)]
            self.process.kill()
            self.process.wait()
            wait_until(lambda: not any(is_alive(pid) for pid in family), why=self.log.read_text)


def _moved(value: str, paths: Mapping[str, str]) -> str:
    """A text with folders of this host in place of mount paths."""
    for path, place in paths.items():
        value = value.replace(path, place)
    return value
