"""Beside stage 4: the orders of each parameter, measured on the real shapes instead of predicted."""

from clipcompiler.autotune.timed import Timed, seconds_of
from clipcompiler.autotune.tune import Meter, tuned_chunk, tuned_plan

__all__ = ["Meter", "Timed", "seconds_of", "tuned_chunk", "tuned_plan"]
