from tasks import Counter
from thespian.actors import Actor


class ThespianCounter(Actor):
    def __init__(self):
        self.counter = Counter()

    def receiveMessage(self, message, sender):
        if isinstance(message, tuple):
            method, *args = message
            self.send(
                sender, (getattr(self.counter, method)(*args),)
            )  # bare arrays upset it
