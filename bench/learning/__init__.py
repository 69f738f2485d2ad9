"""The one backbone and the one training loop, for every method."""
