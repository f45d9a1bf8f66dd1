"""What to annotate next: strategies give scores, policies make batches, `select` does both.

Importing the package makes the built-in strategies and policies known by name.
"""

from __future__ import annotations

from kloc.selection.base import Context, Scores, Strategy, available, make_strategy, strategy
from kloc.selection.choose import Pick, Selection, select
from kloc.selection.policies import Policy, available_policies, make_policy, policy
from kloc.selection.random import Random
from kloc.selection.us import UncertaintySampling

__all__ = [
    "Context",
    "Pick",
    "Policy",
    "Random",
    "Scores",
    "Selection",
    "Strategy",
    "UncertaintySampling",
    "available",
    "available_policies",
    "make_policy",
    "make_strategy",
    "policy",
    "select",
    "strategy",
]
