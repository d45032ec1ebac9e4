"""`python -m funtorch train.py ...` is `funtorch run train.py ...`."""

import importlib
import sys

if __name__ == "__main__":
    # The command line belongs to compat, which stands above this package: named, not imported.
    cli = importlib.import_module("funtorch.compat.cli")
    given = sys.argv[1:]
    raise SystemExit(cli.main(given if given[:1] and given[0] in cli.COMMANDS else ["run", *given]))
