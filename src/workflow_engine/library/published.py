"""Definitions on their way in: what a program hands over, and what came of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from workflow_engine.models.document import BYTES_MAX, DocumentInvalid, parse_document
from workflow_engine.models.errors import DefinitionInvalid

Source = Path | str | bytes | Mapping[str, Any]
"""A definition: a file, its text (YAML or JSON), or the document itself."""


class Published(NamedTuple):
    """A version of a workflow."""

    workflow_id: str
    version: int
    is_new: bool
    """False: the latest version has this content already."""


def read_document(source: Source) -> Any:
    """The document of a definition. A file is JSON by its ending, a text by its first character, else YAML.

    Raises:
        DefinitionInvalid: it is not well-formed; the problem says where.
        OSError: the file can't be read. TypeError: it is no definition at all.
    """
    if isinstance(source, Mapping):
        return dict(source)
    kind: Literal["json", "yaml"] = "yaml"
    if isinstance(source, Path):
        kind = "json" if source.suffix == ".json" else "yaml"
        source = source.read_bytes()
    elif isinstance(source, str):
        _refuse_file_name(source)
        source = source.encode(errors="surrogatepass")  # which the parser refuses, with the place
    elif not isinstance(source, bytes):
        raise TypeError(f"a definition is a Path, YAML or JSON text, or a dict; this is {type(source).__name__}")
    if source.lstrip()[:1] == b"{":
        kind = "json"
    try:
        return parse_document(source, kind=kind, bytes_max=BYTES_MAX)
    except DocumentInvalid as error:
        raise DefinitionInvalid([error.problem]) from None


def _refuse_file_name(text: str) -> None:
    if text.endswith((".yaml", ".yml", ".json")) and "\n" not in text:
        raise TypeError(f"{text!r} would be read as the definition's text; give Path({text!r}) for the file")
