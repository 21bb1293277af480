"""Every test runs on one thread with a fixed seed, and plans for the nominal machine: plans are the same anywhere.

Hypothesis sets no deadline, for the first export is slow.
"""

import gc
import os

import pytest
import torch
from hypothesis import settings

os.environ["CLIPCOMPILER_MACHINE"] = "nominal"
settings.register_profile("clipcompiler", deadline=None, derandomize=True)
settings.load_profile("clipcompiler")
torch.set_num_threads(1)
torch.manual_seed(0)  # for what test modules draw when they are imported


def pytest_collection_finish():
    """What collection made stays until the end: no later search for garbage goes through it again."""
    gc.freeze()


def pytest_unconfigure():
    """At the end it is garbage like any other; Triton would print all that is left of it."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
