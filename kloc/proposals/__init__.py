"""Class-agnostic proposals: where in a video something may happen."""

from kloc.proposals.base import (
    ProposalGenerator,
    Proposals,
    generator_names,
    load_generator,
    make_generator,
    register_generator,
)

__all__ = [
    "ProposalGenerator",
    "Proposals",
    "generator_names",
    "load_generator",
    "make_generator",
    "register_generator",
]
