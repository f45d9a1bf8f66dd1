"""What to annotate next: strategies give scores, policies make batches, `select` does both.

Importing the package makes the built-in strategies and policies known by name.
"""

from __future__ import annotations

from kloc.selection.base import Context, Scores, Strategy, available, make_strategy, strategy
from kloc.selection.budget import Budget
from kloc.selection.choose import Pick, Selection, select
from kloc.selection.cost import CostModel
from kloc.selection.lal import LearningActiveLearning
from kloc.selection.mcle import MaximumConflictLabelEquality
from kloc.selection.policies import Policy, available_policies, make_policy, policy
from kloc.selection.random import Random
from kloc.selection.ranks import rankable, ranks_under
from kloc.selection.spec import policy_from, strategy_from
from kloc.selection.typiclust import TypiClust
from kloc.selection.us import BinaryUncertaintySampling, UncertaintySampling

__all__ = [
    "BinaryUncertaintySampling",
    "Budget",
    "Context",
    "CostModel",
    "LearningActiveLearning",
    "MaximumConflictLabelEquality",
    "Pick",
    "Policy",
    "Random",
    "Scores",
    "Selection",
    "Strategy",
    "TypiClust",
    "UncertaintySampling",
    "available",
    "available_policies",
    "make_policy",
    "make_strategy",
    "policy",
    "policy_from",
    "rankable",
    "ranks_under",
    "select",
    "strategy",
    "strategy_from",
]
