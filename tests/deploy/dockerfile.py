"""Read a Dockerfile and a .dockerignore: the instructions and sources that an engine would use.

Only what ours needs is understood. Anything else is an error, so that the tests can't overlook it.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

UNDERSTOOD = (
    *("FROM", "WORKDIR", "COPY", "RUN", "ENV", "LABEL", "USER", "VOLUME", "EXPOSE"),
    *("HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD"),
)


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word, its ``--flags``, and the rest as text."""

    word: str
    flags: dict[str, str]
    rest: str

    def command(self) -> list[str]:
        """The rest as a command: exec form as it is, shell form by ``/bin/sh``."""
        if self.rest.startswith("["):
            parsed: list[str] = json.loads(self.rest)
            return parsed
        return ["/bin/sh", "-c", self.rest]


@dataclass
class Stage:
    """One ``FROM`` and what follows it."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def of(self, word: str) -> list[Instruction]:
        return [instruction for instruction in self.instructions if instruction.word == word]

    def only(self, word: str) -> Instruction:
        """The one instruction of this kind."""
        (found,) = self.of(word)
        return found

    def environment(self, base: dict[str, str]) -> dict[str, str]:
        """What all ``ENV`` together make of the base image's environment."""
        made = dict(base)
        for instruction in self.of("ENV"):
            made |= variables(instruction, made)
        return made

    def health_check(self) -> list[str]:
        """The command of ``HEALTHCHECK``."""
        word, _, command = self.only("HEALTHCHECK").rest.partition(" ")
        assert word == "CMD"
        return Instruction(word, {}, command.strip()).command()


def stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile, the last of which becomes the image."""
    found: list[Stage] = []
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        assert word in UNDERSTOOD, f"{word}: not understood by the tests; teach them"
        flags = {}
        while match := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
            flags[match[1]] = match[2]
            rest = rest[match.end() :]
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name))
        else:
            found[-1].instructions.append(Instruction(word, flags, rest.strip()))
    return found


def variables(instruction: Instruction, known: dict[str, str]) -> dict[str, str]:
    """The names and values of an ``ENV`` or ``LABEL``."""
    pairs = (part.split("=", 1) for part in shlex.split(instruction.rest))
    return {name: Template(value).substitute(known) for name, value in pairs}


def in_context(ignore: str, path: Path) -> bool:
    """Whether a file, relative to the context, passes a .dockerignore: the last match decides."""
    passes = True
    for line in ignore.splitlines():
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#") and _matches(pattern, path):
            passes = line.startswith("!")
    return passes


def _matches(pattern: str, path: Path) -> bool:
    """Whether a pattern means this file or a folder that it is in."""
    expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
    return any(
        re.fullmatch(expression, part.as_posix()) for part in (path, *path.parents) if part.name
    )
