"""Run a command as a container engine would, in a folder as its root: with plain namespaces.

What differs from an engine: the base image. Its place is taken by this machine's ``/usr`` and
``/etc`` and by the Python that runs the tests, all mounted read-only. So a step may use what this
machine has and the slim image has not; the wheels, the environment, the user, the volumes, the
network of its own and the missing rights are as in the image. Needs root, for the namespaces.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = ("unshare", "nsenter", "setpriv", "ip", "gcc")
_PYTHON = Path(sys.base_prefix).resolve()
_LINKS = ("bin", "sbin", "lib", "lib64")

BASE_ENVIRONMENT = {"PATH": f"{_PYTHON}/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def missing_means() -> str:
    """Why containers can't be imitated here; nothing if they can."""
    if os.geteuid() != 0:
        return "the tests don't run as root"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"{', '.join(absent)} is missing"
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, text=True
    )
    return tried.stderr.strip()


@dataclass
class Container:
    """A root folder and how commands run in it.

    Attributes:
        root: what the image holds; the base image's part is mounted over it.
        user: ``uid:gid``; root's keeps all rights, as in a build.
        read_only: whether the root can't be written.
        temporary: where an empty file system is mounted: ``place`` or ``place:options``.
        volumes: folders of this machine, by where they are mounted.
        own_network: whether there is nothing but a loopback of its own.
    """

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(BASE_ENVIRONMENT))
    directory: str = "/"
    user: str = "0:0"
    read_only: bool = False
    temporary: Sequence[str] = ()
    volumes: Mapping[str, Path] = field(default_factory=dict)
    own_network: bool = False

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(self._outside(command), capture_output=True, text=True, timeout=100)

    @contextlib.contextmanager
    def running(self, command: Sequence[str], log: Path) -> Iterator[Process]:
        """Run a command as process 1 for the length of a block; what it says goes to a file."""
        with (
            log.open("w") as out,
            subprocess.Popen(self._outside(command), stdout=out, stderr=out) as parent,
        ):
            process = Process(self, parent, log)
            try:
                yield process
            finally:
                process.kill()

    def _outside(self, command: Sequence[str]) -> list[str]:
        apart = ["unshare", "--mount", "--pid", "--fork"]
        if self.own_network:
            apart.append("--net")
        return [*apart, "--", "/bin/sh", "-euc", self._set_up(), "sh", *self.inside(command)]

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command line, once the root is the container's."""
        uid, gid = self.user.split(":")
        variables = {"HOME": "/root" if uid == "0" else "/"} | self.environment
        pairs = [f"{name}={value}" for name, value in variables.items()]
        line = ["/usr/bin/env", "-i", f"--chdir={self.directory}", *pairs]
        if uid != "0":
            line += ["/usr/bin/setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
            line += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"]
        return [*line, *command]

    def _set_up(self) -> str:
        """A shell script that mounts everything and becomes ``$@``."""
        root = self.root
        steps = [f"mount --bind {_q(root)} {_q(root)}"]
        for system in (Path("/usr"), Path("/etc"), _PYTHON):
            if system == Path("/usr") or not system.is_relative_to("/usr"):
                steps += _bind(system, root / system.relative_to("/"), "ro,bind")
        for name in _LINKS:
            host = Path("/", name)
            if host.is_symlink() and not (root / name).is_symlink():
                (root / name).symlink_to(host.readlink())
            elif host.is_dir() and not host.is_symlink():
                steps += _bind(host, root / name, "ro,bind")
        steps += _bind(Path("/dev"), root / "dev", "")
        (root / "proc").mkdir(exist_ok=True)
        steps.append(f"mount -t proc proc {_q(root / 'proc')}")
        for mount in self.temporary:
            place, _, options = mount.partition(":")
            inside = _folder(root / place.lstrip("/"))
            steps.append(f"mount -t tmpfs -o {options or 'mode=1777'} tmpfs {_q(inside)}")
        for place, volume in self.volumes.items():
            steps += _bind(volume, root / place.lstrip("/"), "")
        if self.own_network:
            steps.append("ip link set lo up")
        if self.read_only:
            steps.append(f"mount -o remount,ro,bind {_q(root)}")
        return "\n".join([*steps, f'exec chroot {_q(root)} "$@"'])


@dataclass
class Process:
    """A running container."""

    container: Container
    parent: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its process 1, as this machine numbers it; 0 while there is none."""
        children = Path(f"/proc/{self.parent.pid}/task/{self.parent.pid}/children")
        with contextlib.suppress(OSError):
            return int((children.read_text().split() or ["0"])[0])
        return 0

    def said(self) -> str:
        return self.log.read_text()

    def execute(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a further command in it, with its rights, to its end."""
        return subprocess.run(self._enter(command), capture_output=True, text=True, timeout=30)

    @contextlib.contextmanager
    def beside(self, command: Sequence[str]) -> Iterator[None]:
        """Let a further command run in it for the length of a block."""
        quiet = subprocess.DEVNULL
        with subprocess.Popen(self._enter(command), stdout=quiet, stderr=quiet) as process:
            try:
                yield
            finally:
                process.kill()

    def _enter(self, command: Sequence[str]) -> list[str]:
        container = self.container
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--root", "--wd"]
        return [*enter, "--", *container.inside(command)]

    def status(self, name: str) -> str:
        """A row of its ``/proc/…/status``."""
        rows = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(row.split(":", 1)[1].strip() for row in rows if row.startswith(f"{name}:"))

    def listening(self) -> set[tuple[str, int]]:
        """Where it listens: IPv4 address and port."""
        rows = Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]
        found = set()
        for address, state in ((row.split()[1], row.split()[3]) for row in rows):
            number, port = address.split(":")
            if state == "0A":
                host = socket.inet_ntoa(int(number, 16).to_bytes(4, sys.byteorder))
                found.add((host, int(port, 16)))
        return found

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """Send a signal to process 1 and wait for its exit status."""
        os.kill(self.pid, number)
        return self.parent.wait(seconds)

    def kill(self) -> None:
        """End it at once, if it still runs; its children go with it."""
        if self.parent.poll() is None:
            os.kill(self.pid or self.parent.pid, signal.SIGKILL)
            self.parent.wait()


def _bind(source: Path, target: Path, options: str) -> list[str]:
    """Mount a folder in another place."""
    steps = [f"mount --rbind {_q(source)} {_q(_folder(target))}"]
    return [*steps, f"mount -o remount,{options} {_q(target)}"] if options else steps


def _folder(path: Path) -> Path:
    """Make a mount point, that everybody may pass."""
    path.mkdir(parents=True, exist_ok=True)
    return path


def _q(path: Path) -> str:
    return shlex.quote(str(path))
