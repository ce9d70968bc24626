"""Build the image by the Dockerfile's own instructions, and start containers of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.dockerfile import Instruction, Stage, in_context, stages
from deploy.rootfs import BASE_ENVIRONMENT, Container

_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_CERT", "PIP_INDEX_URL")
"""How this machine reaches package registries: engines are told the same, outside the file."""


@dataclass(frozen=True)
class Image:
    """What the last stage came to."""

    root: Path
    stage: Stage
    environment: dict[str, str]

    def container(
        self,
        environment: Mapping[str, str],
        *,
        volume: Path | None = None,
        temporary: Sequence[str] = ("/tmp",),
    ) -> Container:
        """A container with a read-only root, no rights and no network but its own loopback.

        Args:
            volume: an empty folder for its state, given owner and mode as an engine does.
        """
        place = self.stage.only("VOLUME").rest
        if volume is not None:
            prepared = (self.root / place.lstrip("/")).stat()
            os.chown(volume, prepared.st_uid, prepared.st_gid)
            volume.chmod(prepared.st_mode & 0o7777)
        return Container(
            self.root,
            environment=self.environment | dict(environment),
            directory=self.stage.only("WORKDIR").rest,
            user=self.stage.only("USER").rest,
            read_only=True,
            temporary=temporary,
            volumes={} if volume is None else {place: volume},
            own_network=True,
        )

    def command(self, *arguments: str) -> list[str]:
        """The entry point with these arguments, or with the image's own."""
        default = self.stage.only("CMD").command()
        return [*self.stage.only("ENTRYPOINT").command(), *(arguments or default)]

    def ports(self) -> set[int]:
        """What ``EXPOSE`` names."""
        return {int(port) for port in self.stage.only("EXPOSE").rest.split()}


def build(project: Path, workshop: Path) -> Image:
    """Build the project's Dockerfile in an empty folder."""
    wanted = stages((project / "Dockerfile").read_text(encoding="utf-8"))
    context = _context(project, wanted, workshop / "context")
    built: dict[str, Container] = {}
    for number, stage in enumerate(wanted):
        root = workshop / f"stage-{number}"
        (root / "tmp").mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        root.chmod(0o755)
        built[stage.name] = _build(stage, Container(root), context, built)
    return Image(root, stage, built[stage.name].environment)


def _build(
    stage: Stage, container: Container, context: Path, built: dict[str, Container]
) -> Container:
    """Carry out the instructions of one stage."""
    network = {name: value for name in _NETWORK if (value := os.environ.get(name))}
    container.environment = stage.environment(BASE_ENVIRONMENT)
    for instruction in stage.instructions:
        match instruction.word:
            case "WORKDIR":
                container.directory = instruction.rest
                _inside(container, instruction.rest).mkdir(parents=True, exist_ok=True)
            case "COPY":
                source = instruction.flags.get("from")
                _copy(instruction, built[source].root if source else context, container)
            case "RUN":
                final = container.environment
                container.environment = network | final
                done = container.run(instruction.command())
                container.environment = final
                assert not done.returncode, f"{instruction.rest}\n{done.stdout}{done.stderr}"
    return container


def _copy(instruction: Instruction, source: Path, container: Container) -> None:
    """``COPY``: files into a folder, or what is in a folder into another."""
    *names, last = instruction.rest.split()
    target = _inside(container, last)
    for name in names:
        origin = source / name.lstrip("/")
        if origin.is_dir():
            shutil.copytree(origin, target, symlinks=True, dirs_exist_ok=True)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(origin, target)
    uid, _, gid = instruction.flags.get("chown", "0:0").partition(":")
    for path in (target, *target.rglob("*")):
        os.chown(path, int(uid), int(gid), follow_symlinks=False)


def _inside(container: Container, place: str) -> Path:
    """Where a place in the container is for us."""
    return container.root / os.path.join(container.directory, place).lstrip("/")


def _context(project: Path, wanted: list[Stage], target: Path) -> Path:
    """What an engine would find of what is copied: the tree less what .dockerignore leaves out."""
    ignore = (project / ".dockerignore").read_text(encoding="utf-8")
    for instruction in (copy for stage in wanted for copy in stage.of("COPY")):
        for name in () if "from" in instruction.flags else instruction.rest.split()[:-1]:
            source = project / name
            for path in source.rglob("*") if source.is_dir() else [source]:
                place = path.relative_to(project)
                if path.is_file() and in_context(ignore, place):
                    (target / place).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, target / place)
    return target
