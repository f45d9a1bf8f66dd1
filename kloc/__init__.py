"""kloc: decide what to annotate next, get it annotated, and publish the dataset."""

from importlib.metadata import version

__version__ = version("kloc")
