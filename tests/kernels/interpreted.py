"""Runs a kernel in Triton's interpreter on random shapes: ``python interpreted.py gram_sqnorm 0 200``.

The interpreter must be asked for before anything imports Triton, as torch does: it has a process of its own.
"""

import importlib
import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

from kernels.draws import check

if __name__ == "__main__":
    name, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    file = "recurrent_scans" if name.endswith("_scan") else name
    run = getattr(importlib.import_module(f"clipcompiler.kernels.on_gpu.{file}"), name)
    for seed in range(first, last):
        check(name, seed, lambda given, tiles: run(*given, **tiles))
    print(f"{last - first} shapes")
