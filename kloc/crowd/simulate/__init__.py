"""Simulated workers: what they answer is a pure function (`workers`), how they hand it in goes through HTTP (`shift`).

Who answers which item, and the answer itself, depend on (seed, item, worker) alone: never on the clock, the order of
arrival, or on how often the simulation was interrupted.
"""

from kloc.crowd.simulate.shift import work
from kloc.crowd.simulate.workers import SPAM, SimulatedWorker, Spam, crowd, default_crew, simulated_answer

__all__ = ["SPAM", "SimulatedWorker", "Spam", "crowd", "default_crew", "simulated_answer", "work"]
