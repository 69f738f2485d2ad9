"""One file a command: from its options to what it leaves behind."""
