"""Benchmarks. They measure with the models and the timing of ``docs/examples``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "docs" / "examples"))
