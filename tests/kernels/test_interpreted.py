"""Every kernel, in Triton's interpreter, equals its reference: random shapes, strides, dtypes, empty batches."""

import importlib

import pytest
import torch
from kernels.draws import KERNELS, check

from clipcompiler.kernels import references

pytest.importorskip("triton")
if torch.cuda.is_available():
    pytest.skip("tests/gpu runs the kernels themselves", allow_module_level=True)

SHAPES, PARTS = 200, 4


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_equals_its_reference(name, part):
    """Fifty shapes."""
    run = getattr(importlib.import_module(f"clipcompiler.kernels.on_gpu.{name}"), name)
    for seed in range(part * SHAPES // PARTS, (part + 1) * SHAPES // PARTS):
        check(name, seed, lambda given, tiles: run(*given, **tiles))


@pytest.mark.parametrize("name", KERNELS)
def test_a_reference_in_float32_equals_itself_in_float64(name):
    """What runs on a CPU in place of the kernel."""
    for seed in range(40):
        check(name, seed, lambda given, _: getattr(references, name)(*given))
