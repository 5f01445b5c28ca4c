"""Tools on top of actors and remote functions, under the names that Ray gives them.

actors.util.ActorPool                 calls spread over several actors
actors.util.queue.Queue               a queue that tasks and actors share
actors.util.multiprocessing.Pool      the standard library's pool
actors.util.joblib.register_actors    joblib's, and so scikit-learn's, backend
"""

from actors.util.actor_pool import ActorPool

__all__ = ["ActorPool"]
