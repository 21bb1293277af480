"""Every kernel, in Triton's interpreter, equals its reference: random shapes, strides, dtypes, empty batches."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from comparison import mostly_slow
from kernels.draws import KERNELS, check

from clipcompiler.kernels import references

SHAPES, PARTS = 200, 4
TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("part", mostly_slow(range(PARTS), every=PARTS))
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_equals_its_reference(name, part):
    """Fifty shapes."""
    pytest.importorskip("triton")
    some = [part * SHAPES // PARTS, (part + 1) * SHAPES // PARTS]
    command = [sys.executable, str(Path(__file__).with_name("interpreted.py")), name, *map(str, some)]
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"{SHAPES // PARTS} shapes")


@pytest.mark.parametrize("name", KERNELS)
def test_a_reference_in_float32_equals_itself_in_float64(name):
    """What runs on a CPU in place of the kernel."""
    for seed in range(40):
        check(name, seed, lambda given, _: getattr(references, name)(*given))
