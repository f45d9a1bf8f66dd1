"""From scores to a batch. Every policy works with every strategy."""

from __future__ import annotations

from kloc.selection.policies.base import (
    POLICIES,
    Policy,
    Queue,
    Walk,
    Walker,
    Walking,
    available_policies,
    best_first,
    in_order,
    make_policy,
    policy,
    take,
)
from kloc.selection.policies.diverse import Diverse
from kloc.selection.policies.quota import ClassQuota
from kloc.selection.policies.top import CostAware, Top

__all__ = [
    "POLICIES",
    "ClassQuota",
    "CostAware",
    "Diverse",
    "Policy",
    "Queue",
    "Top",
    "Walk",
    "Walker",
    "Walking",
    "available_policies",
    "best_first",
    "in_order",
    "make_policy",
    "policy",
    "take",
]
