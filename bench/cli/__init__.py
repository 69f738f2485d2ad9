"""`bench`: options and printing, nothing else."""
