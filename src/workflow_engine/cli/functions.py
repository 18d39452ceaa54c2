"""Python files and modules that register functions with `@workflow_engine.function`, loaded for one command."""

import importlib
import importlib.util
import os
import stat
import sys
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from workflow_engine.cli.failure import CommandFailed

SOURCE_FILE = "source_file"
FUNCTIONS = "functions"
"""Keys of an execution's metadata: where its definition came from, and which files and modules were loaded for it, so
that `resume` finds them again."""


def sibling_of(source_file: str) -> Path | None:
    """The Python file beside a definition that has its name: `order.py` for `order.yaml`."""
    path = Path(source_file).with_suffix(".py")
    return path if source_file != "-" and path.is_file() else None


def metadata_of(source_file: str, loaded: Iterable[str]) -> dict[str, str]:
    """What an execution remembers of where it came from."""
    metadata = {} if source_file == "-" else {SOURCE_FILE: str(Path(source_file).absolute())}
    functions = os.pathsep.join(loaded)
    return metadata | ({FUNCTIONS: functions} if functions else {})


def remembered(metadata: dict[str, Any]) -> list[str]:
    """What was loaded for an execution that was started earlier.

    A database may come from elsewhere, so a remembered file is run only if it belongs to the user (or root) and nobody
    else may write to it.

    Raises:
        CommandFailed: a file is gone or not to be trusted; without its functions the execution would only fail.
    """
    names = [name for name in str(metadata.get(FUNCTIONS) or "").split(os.pathsep) if name]
    for name in names:
        if _is_file(name) and not _is_trusted(name):
            raise CommandFailed(
                f"the execution was started with the functions of {name}, which is gone or may be written by others",
                code="functions_missing",
                hint="say where its functions are now: --functions FILE",
            )
    return names


def _is_trusted(name: str) -> bool:
    try:
        status = Path(name).stat()
    except OSError:
        return False
    return status.st_uid in (os.geteuid(), 0) and not status.st_mode & stat.S_IWOTH


def _is_file(name: str) -> bool:
    return name.endswith(".py") or os.sep in name


def load(names: Iterable[str]) -> list[str]:
    """Load each file or module once; gives the names of those that are loaded, for people.

    Raises:
        CommandFailed: one is not there, or fails while it is loaded.
    """
    loaded = []
    for name in dict.fromkeys(names):
        if _is_file(name):
            loaded.append(_load_file(Path(name)))
        else:
            loaded.append(_load_module(name))
    return list(dict.fromkeys(loaded))


def _load_file(path: Path) -> str:
    path = path.absolute()
    if not path.is_file():
        raise CommandFailed(f"--functions: there is no file {path}", code="not_found")
    # A name of its own, so that a file called json.py or test.py hides no module.
    module_name = f"workflow_functions_{blake2b(str(path.resolve()).encode(), digest_size=8).hexdigest()}"
    if module_name in sys.modules:
        return str(path)
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise CommandFailed(f"--functions: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    _let_import_from(path.parent)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise _unloadable(str(path), error) from error
    return str(path)


def _load_module(name: str) -> str:
    _let_import_from(Path.cwd())
    try:
        importlib.import_module(name)
    except Exception as error:
        raise _unloadable(name, error) from error
    return name


def _let_import_from(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last: nothing there hides an installed module


def _unloadable(name: str, error: Exception) -> CommandFailed:
    line = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = f" in line {trace.tb_lineno}"
        trace = trace.tb_next
    return CommandFailed(
        f"the functions of {name} can't be loaded: {type(error).__name__}{line}: {error}",
        code="functions_unloadable",
        hint="--debug shows the whole traceback",
    )
