"""Print the first fenced block under a heading of a Markdown file.

The README's commands are what CI runs, literally: `readme_block.py README.md Test`.
"""

import sys
from pathlib import Path

FENCE = "```"


def first_block(text: str, heading: str) -> str:
    """Find the first fenced block below `## heading`.

    Args:
        text: Markdown.
        heading: the words after `## `.

    Raises:
        LookupError: no such heading, or no closed block before the next one.
    """
    lines = iter(text.splitlines())
    if not any(line.strip() == f"## {heading}" for line in lines):
        raise LookupError(f"No heading '## {heading}'")
    for line in lines:
        if line.startswith("## "):
            break
        if line.startswith(FENCE):
            block: list[str] = []
            for inside in lines:
                if inside.startswith(FENCE):
                    return "\n".join(block) + "\n"
                block.append(inside)
    raise LookupError(f"No fenced block under '## {heading}'")


if __name__ == "__main__":
    path, heading = sys.argv[1:]
    sys.stdout.write(first_block(Path(path).read_text(encoding="utf-8"), heading))
