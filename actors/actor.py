"""`exit_actor` and the handle's class, where Ray has them."""

from actors.api.actor_handle import ActorHandle
from actors.api.actor_tools import exit_actor

__all__ = ["ActorHandle", "exit_actor"]
