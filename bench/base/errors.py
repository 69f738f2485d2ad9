"""The error that a user can mend, and what anybody's error says in a line."""

MOVES_NO_NUMBER = True


class BenchError(Exception):
    """One line that says what is wrong, where, and how to mend it; `bench` prints it and ends with code 2."""


def first_line(error: BaseException) -> str:
    """An error of anybody's code in a line: "ValueError: too many values"."""
    try:
        text = str(error)
    except Exception:  # an error of somebody's own kind, which cannot say what it is
        text = ""
    return f"{type(error).__name__}: {text}".partition("\n")[0]
