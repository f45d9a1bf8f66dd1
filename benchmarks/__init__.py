"""What is timed, against which baseline. Run from the repository's root: ``python -m benchmarks.measure --list``."""
