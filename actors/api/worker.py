"""What a worker of the embedded runtime runs: with the API imported before it forks."""

from actors.api import objects, remote
from actors.embedded.borrower import run_borrower

__all__ = ["objects", "remote", "run_borrower"]
