"""Everything that needs a GPU, in parts of less than eight minutes, on a machine that reaches no registry.

python -m benchmarks.on_gpu kernels --out FOLDER       times the kernels                          kernels.jsonl
python -m benchmarks.on_gpu tests --out FOLDER         pytest -m gpu tests/gpu                    tests.txt
python -m benchmarks.on_gpu peers --out FOLDER         benchmarks.peers --device cuda             peers.jsonl
python -m benchmarks.on_gpu large --out FOLDER         GPT-2, LLaMA and ResNet50, compiled        compiled.jsonl

From a checkout, with nothing installed but torch and Triton:

ln -sfn ../rules clipcompiler/rules && PYTHONPATH=.:docs/examples python -m benchmarks.on_gpu kernels --out "$OUT"
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PARTS", "main"]

#: The most seconds of a part.
LIMIT = 470
#: What each part runs; {out} is the folder of its results.
PARTS = {
    "kernels": ["-m", "benchmarks.kernels", "--results", "{out}/kernels.jsonl"],
    "tests": ["-m", "pytest", "-m", "gpu", "tests/gpu", "-p", "no:cacheprovider", "--durations=10", "-o", "timeout=0"],
    "peers": ["-m", "benchmarks.peers", "--device", "cuda", "--results", "{out}/peers.jsonl", "--seconds", "4"],
    "large": [
        "-m", "benchmarks.compiled", "--device", "cuda", "--models", "gpt2-124m,llama-1b,resnet50",
        "--results", "{out}/compiled.jsonl",
    ],
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a part within its time; what it printed is kept beside its results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.on_gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the results")
    parser.add_argument("--limit", type=int, default=LIMIT, help=f"the most seconds (default: {LIMIT})")
    parser.add_argument("more", nargs="*", help="further arguments of the part, behind --")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *(a.format(out=options.out) for a in PARTS[options.part]), *options.more]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    log = options.out / f"{options.part}.txt"
    print(f"{' '.join(command)}, at most {options.limit} s", flush=True)
    to_pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with subprocess.Popen(command, env=environment, **to_pipe) as process, log.open("w", encoding="utf-8") as file:
        clock = threading.Timer(options.limit, process.kill)
        clock.start()
        for line in process.stdout or ():
            print(line, end="", flush=True)
            file.write(line)
        clock.cancel()
        return process.wait()


if __name__ == "__main__":
    raise SystemExit(main())
