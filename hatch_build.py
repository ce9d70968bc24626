"""Compile the innermost loops with mypyc while the package is built, where that is possible.

The same source runs interpreted where it is not (no C compiler, PyPy): slower, otherwise alike.
``STREAM_PROXY_COMPILE=0`` leaves it so; ``STREAM_PROXY_COMPILE=1`` makes a failure an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULES = (
    "stream_proxy/hub/distribute.py",
    "stream_proxy/wire/alpaca/walk.py",
    "stream_proxy/wire/grpc/boundaries.py",
    "stream_proxy/wire/grpc/transcode.py",
)
"""Plain functions over built-in types: what mypyc compiles best. Each becomes a file of its own."""

_SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))


class CompileHook(BuildHookInterface[Any]):
    """Puts the compiled modules beside their sources: into the wheel, or into ``src``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("STREAM_PROXY_COMPILE", "")
        source = Path(self.root, "src")
        if version == "editable":
            for module in MODULES:
                for stale in compiled_files(source / module):
                    stale.unlink()
        if wanted == "0" or self.target_name != "wheel":
            return
        self._folder = tempfile.TemporaryDirectory(prefix="stream-proxy-build-")
        try:
            compiled = _compile(source, Path(self._folder.name))
            _try(compiled, Path(self._folder.name, "trial"))
        except (OSError, subprocess.SubprocessError) as error:
            if wanted == "1":
                raise
            self.app.display_warning(f"not compiled, so slower: {error}")
            return
        for file, place in compiled.items():
            if version == "editable":
                shutil.move(file, source / place)
            else:
                build_data["force_include"][str(file)] = str(place)
        if version != "editable":
            build_data["pure_python"] = False
            build_data["infer_tag"] = True


def compiled_files(source: Path) -> list[Path]:
    """The compiled forms of a module: what Python imports, and what that imports in turn."""
    names = (f"{source.stem}{_SUFFIX}", f"{source.stem}__mypyc{_SUFFIX}")
    return [path for name in names if (path := source.with_name(name)).exists()]


def _compile(source: Path, folder: Path) -> dict[Path, Path]:
    """Compile every module in a folder apart, all at once; give each result and its place.

    Raises:
        OSError, subprocess.SubprocessError: mypyc or the C compiler is missing or failed.
    """
    started = {}
    for module in MODULES:
        room = folder / Path(module).stem
        (room / module).parent.mkdir(parents=True)
        for parent in Path(module).parents[:-1]:
            (room / parent / "__init__.py").touch()
        shutil.copy(source / module, room / module)
        command = [sys.executable, "-m", "mypyc", module]
        started[module] = subprocess.Popen(  # noqa: S603
            command, cwd=room, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    compiled = {}
    try:
        for module, process in started.items():
            output, _ = process.communicate(timeout=300)
            room = folder / Path(module).stem
            files = compiled_files(room / module)
            if process.returncode or not files:
                last = (output.strip() or "mypyc said nothing").splitlines()[-1]
                raise subprocess.SubprocessError(f"{module}: {last}")
            compiled.update({file: file.relative_to(room) for file in files})
    finally:
        for process in started.values():
            process.kill()
            process.wait()
    return compiled


def _try(compiled: dict[Path, Path], room: Path) -> None:
    """Import what was compiled, in a process apart: what can't be imported isn't taken.

    Raises:
        subprocess.SubprocessError: with the last line of what Python said.
    """
    for file, place in compiled.items():
        (room / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, room / place)
        for parent in place.parents[:-1]:
            (room / parent / "__init__.py").touch()
    path = [str(room), os.environ.get("PYTHONPATH")]
    names = [module.removesuffix(".py").replace("/", ".") for module in MODULES]
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", f"import {', '.join(names)}"],
        # What an isolated build has of its own is on this path as well.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise subprocess.SubprocessError((done.stderr.strip() or "import failed").splitlines()[-1])
