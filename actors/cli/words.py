"""Words for people: short, plain, and harmless to terminals."""

__all__ = ["amount", "first_line", "plain"]


def plain(text: str) -> str:
    """Replace what could move the cursor: names come from users."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " for c in text)


def first_line(text: str) -> str:
    """Return the first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def amount(count: int, what: str) -> str:
    """Say "1 task" and "2,000 tasks"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
