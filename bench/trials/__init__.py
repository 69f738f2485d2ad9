"""A request → trials → results on disk."""
