"""The few errors kloc raises on purpose.

A message says what was wrong, with which file or video, and what to do about it, in one line: the command
line prints it as it is. Anything that is not a :class:`KlocError` is a defect of kloc.
"""

from __future__ import annotations


class KlocError(Exception):
    """Work that failed. The command line prints the message and exits with 1."""

    exit_code = 1


class UsageError(KlocError):
    """A wrong argument, setting or order of commands. Exit code 2."""

    exit_code = 2


class VideoError(KlocError):
    """One video that cannot be used. Stages quarantine the video with this message and go on."""


class FormatError(KlocError):
    """A file of somebody else's that cannot be read as what it claims to be."""


class MismatchError(KlocError):
    """Artefacts made with different settings that must not be mixed (features, models, predictions)."""


class CrowdError(KlocError):
    """The crowd endpoint refused or could not be reached."""
