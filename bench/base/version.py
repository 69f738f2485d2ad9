"""The version of this program."""

MOVES_NO_NUMBER = True
VERSION = "0.1.0"
