"""Standard output belongs to the result. Everything else (progress, problems, what functions print) is on stderr."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, TextIO

import msgspec

from workflow_engine.cli.text import printable


def pretty_json(value: Any) -> bytes:
    """The value as indented JSON with a line feed at its end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


class Output:
    """What a command prints; one for each command.

    With `--json` the process's standard output is set aside while the command runs: a function that prints, or a
    program that it starts, writes to stderr, and stdout holds one JSON document and nothing else.
    """

    def __init__(self, is_json: bool) -> None:
        self.is_json = is_json
        self.is_unread = False
        """Whether nobody reads any more what is printed."""
        self._stdout: TextIO = sys.stdout
        self._document: BinaryIO | None = None

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Set stdout aside, with `--json`."""
        if not self.is_json:
            yield
            return
        try:
            descriptor = self._stdout.fileno()
            sys.stderr.fileno()
        except (io.UnsupportedOperation, AttributeError, ValueError):
            yield
            return
        self._stdout.flush()
        kept = os.dup(descriptor)
        os.dup2(sys.stderr.fileno(), descriptor)
        try:
            with open(os.dup(kept), "wb") as self._document:  # noqa: PTH123 - a descriptor, not a path
                yield
        finally:
            with suppress(OSError, ValueError):
                self._stdout.flush()
            os.dup2(kept, descriptor)
            os.close(kept)
            self._document = None

    def json(self, value: Any) -> None:
        """Print a value as JSON."""
        self._write(pretty_json(value))

    def text(self, text: str) -> None:
        """Print text; a line feed is added."""
        self._write(f"{printable(text)}\n".encode(errors="replace"))

    def note(self, text: str) -> None:
        """Say something beside the result, on stderr."""
        stream = sys.stderr
        encoding = stream.encoding or "utf-8"
        print(printable(text).encode(encoding, "replace").decode(encoding), file=stream, flush=True)

    def _write(self, data: bytes) -> None:
        stream: Any = self._document if self._document is not None else self._stdout
        try:
            stream.flush()
            getattr(stream, "buffer", stream).write(data)
            stream.flush()
        except BrokenPipeError:
            # The reader has seen enough (`| head`): the exit code stands, and no flush at exit complains again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            self.is_unread = True
