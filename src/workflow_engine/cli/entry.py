"""Where the console script begins. Nothing heavy is imported here: `--version` answers at once."""

import gc
import sys
from collections.abc import Sequence

from workflow_engine import __version__

VERSION_WORDS = (["--version"], ["version"])

EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; `arguments` default to those of the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in VERSION_WORDS:
        print(f"workflow-engine {__version__}")
        return 0
    try:
        gc.disable()  # all that is imported stays: looking it through for garbage would take a fifth of the time
        from workflow_engine.cli.app import run_command

        gc.enable()
        return run_command(words)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
