"""The interpreter under which the other engines run: a virtual environment apart from the project's own."""

import hashlib
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".venv-peers"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
STAMP = FOLDER / ".installed"


def installed() -> Path:
    """Make the environment if it is not there or its requirements have changed; gives its interpreter.

    Raises:
        subprocess.CalledProcessError: it could not be made; the installer has said why.
    """
    python = FOLDER / "bin" / "python"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return python
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, FOLDER], check=True)
    subprocess.run(
        [uv, "pip", "install", "-q", "--compile-bytecode", "--python", python, "--require-hashes", "-r", REQUIREMENTS],
        check=True,
    )
    STAMP.write_text(wanted)
    return python
