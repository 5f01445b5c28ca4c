"""What workers and actors of the embedded runtime run: imported before they fork."""

from actors.api import actor_tools, objects, remote
from actors.embedded.borrower import run_borrower

__all__ = ["actor_tools", "objects", "remote", "run_borrower"]
