"""Every kernel compiles for a GPU, where there is none: with tensor cores, and with its loads ahead of its products."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

#: The shared memory of one block of an H100, in bytes.
SHARED = 227 * 1024
MATRIX = ("gram_sqnorm", "instantiate_sqnorm", "convolution_sqnorm", "embedding_sqnorm")
SCANS = ("lstm_scan", "gru_scan", "rnn_scan")
CONFIGS = {
    "gram_sqnorm": 8, "instantiate_sqnorm": 9, "convolution_sqnorm": 8, "embedding_sqnorm": 5,
    "lstm_scan": 4, "gru_scan": 4, "rnn_scan": 4,
}  # fmt: skip


def compiled(name, config, dtype):
    """In a process that does not interpret."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])
    )
    command = [sys.executable, str(Path(__file__).with_name("for_a_gpu.py")), name, str(config), dtype]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(next(line for line in ran.stdout.splitlines() if line.startswith("{")))


def check(name, config, dtype):
    found = compiled(name, config, dtype)
    assert found["shared"] <= SHARED
    if name in MATRIX + SCANS and dtype == "bf16":
        assert found["units"], "no tensor cores"
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_the_first_sizes_compile(name):
    found = check(name, 0, "bf16")
    if name in MATRIX:
        assert found["copies_ahead"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize(("name", "config"), [(name, k) for name, most in CONFIGS.items() for k in range(most)])
def test_all_sizes_compile(name, config, dtype):
    check(name, config, dtype)
