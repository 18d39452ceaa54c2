"""`workflow-engine` as a fault test starts it: with scaled sizes; for the tooth with the protecting line switched off.

python fault_child.py MODULE (--whole | --bitten) COMMAND...
"""

import importlib
import sys

from workflow_engine.cli.entry import main

if __name__ == "__main__":
    name, mode, *words = sys.argv[1:]
    fault = importlib.import_module(name)
    fault.scale()
    if mode == "--bitten":
        fault.bite()
    sys.exit(main(words))
