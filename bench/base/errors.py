"""The error that a user can mend."""

MOVES_NO_NUMBER = True


class BenchError(Exception):
    """One line that says what is wrong, where, and how to mend it; `bench` prints it and ends with code 2."""
