"""``python -m kloc``."""

from kloc.cli import main

main()
