"""Make `python -m actors` the command `actors`."""

from actors.cli import main

if __name__ == "__main__":
    main(prog_name="actors")
