"""What the other engines run under: a virtual environment apart from the project's own, and packages of Node."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".venv-peers"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
STAMP = FOLDER / ".installed"

NODE_FOLDER = Path(__file__).with_name("restate")
MODULES = NODE_FOLDER / "node_modules"
MODULES_STAMP = MODULES / ".installed"


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


def node_installed() -> bool:
    """Install the packages of Node if they are not there or their lock has changed; False: here is no Node.

    Raises:
        subprocess.CalledProcessError: they could not be installed; npm has said why.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return False
    wanted = hashlib.sha256((NODE_FOLDER / "package-lock.json").read_bytes()).hexdigest()
    if not MODULES_STAMP.exists() or MODULES_STAMP.read_text() != wanted:
        quietly = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run([npm, "ci", *quietly], cwd=NODE_FOLDER, stdout=subprocess.DEVNULL, check=True)
        MODULES_STAMP.write_text(wanted)
    return True
