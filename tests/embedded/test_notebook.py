"""Promise: what is defined in a notebook's cells runs in workers, cell after cell."""

from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

pytestmark = pytest.mark.slow

# Imports of a kernel on a busy machine.
_START_TIMEOUT = 60


class Notebook:
    """A kernel, and a client that runs cells in it."""

    def __init__(self) -> None:
        self.manager: Any
        self.client: Any
        self.manager, self.client = start_new_kernel(startup_timeout=_START_TIMEOUT)

    def run(self, cell: str) -> tuple[str, str]:
        """Run a cell; return (what it printed on stdout, its error's name)."""
        printed: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream" and content["name"] == "stdout":
                printed.append(content["text"])

        reply = self.client.execute_interactive(
            cell, output_hook=hear, timeout=_START_TIMEOUT, allow_stdin=False
        )
        return "".join(printed), reply["content"].get("ename", "")

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel()


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    made = Notebook()
    yield made
    made.close()


def test_cells_define_call_redefine_and_interrupt(notebook: Notebook) -> None:
    assert notebook.run("import actors\nactors.init(num_workers=2)") == ("", "")
    define = """
factor = 2

def helper(x):
    return x * factor

@actors.remote
def scale(x):
    return helper(x)

print(actors.get(scale.remote(21)))
"""
    assert notebook.run(define) == ("42\n", "")
    # A cell is edited and run again.
    assert notebook.run(define.replace("factor = 2", "factor = 3")) == ("63\n", "")
    actor = """
class Counter:
    def __init__(self):
        self.count = 0

    def add(self, by):
        self.count += by
        return self.count

counter = actors.remote(Counter).remote()
print(actors.get([counter.add.remote(factor) for _ in range(2)]))
"""
    assert notebook.run(actor) == ("[3, 6]\n", "")
    assert notebook.run("print(actors.get(counter.add.remote(1)))") == ("7\n", "")
    # A notebook has an event loop, where cells may await.
    assert notebook.run("print(await scale.remote(5))") == ("15\n", "")
    failing = "actors.get(actors.remote(lambda: 1 / 0).remote())"
    assert notebook.run(failing) == ("", "ZeroDivisionError")
    assert notebook.run("actors.shutdown()\nprint('over')") == ("over\n", "")
