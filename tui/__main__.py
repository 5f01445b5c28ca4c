"""Make `python -m tui` the command `actors tui`."""

import sys

from actors.cli import main

if __name__ == "__main__":
    main(["tui", *sys.argv[1:]], prog_name="actors")
