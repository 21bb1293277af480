"""Compiles a kernel for an H100, which needs none: ``python for_a_gpu.py gram_sqnorm 0 bf16`` prints what came of it.

The arguments are as a call makes them: the last stride 1, other numbers and pointers multiples of 16.
"""

import importlib
import json
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

SCANS = "recurrent_scans"
#: The kernel of each op and its file where that has another name, its strides of 1, and its further pointers.
KERNELS = {
    "lstm_scan": ("lstm_steps", (), ("dz", "gates", "c", "tanh_c", "dh_by_step", "dc_last", "weight")),
    "gru_scan": ("gru_steps", (), ("dz_x", "dz_h", "gates", "back_v", "h", "dh_by_step", "weight")),
    "rnn_scan": ("rnn_steps", (), ("dz", "h", "dh_by_step", "weight")),
    "gram_sqnorm": ("gram_tiles", ("x_f", "y_0_f", "y_1_f", "y_2_f", "y_3_f"), ("y_0", "y_1", "y_2", "y_3")),
    "instantiate_sqnorm": ("gradient_tiles", ("x_i", "y_o"), ("y",)),
    "convolution_sqnorm": ("filter_tiles", ("x_3", "y_3"), ("y",)),
    "embedding_sqnorm": ("matching_tiles", ("y_f", "rows_s"), ("y",)),
}
OTHERS = {"squares": "*fp32", "parts": "*fp32", "rows": "*i64"}
OTHERS |= {"carry": "*fp32", "carry_h": "*fp32", "carry_c": "*fp32"}


def compiled(name, config, dtype):
    """The kernel with one of its sizes of tiles."""
    kernel, ones, pointers = KERNELS[name]
    file = SCANS if name.endswith("_scan") else name
    tuned = getattr(importlib.import_module(f"clipcompiler.kernels.on_gpu.{file}"), kernel)
    own = tuned.configs[config]
    constants = {**own.kwargs, "ACC": tl.float32, "COTANGENTS": 2, "BIAS": True, "RELU": False} | dict.fromkeys(ones, 1)
    signature, attributes = {}, {}
    for place, parameter in enumerate(tuned.fn.arg_names):
        pointer = OTHERS.get(parameter) or (f"*{dtype}" if parameter in ("x", *pointers) else None)
        plain = "fp32" if parameter.startswith("bias") else "i32"
        signature[parameter] = "constexpr" if parameter in constants else pointer or plain
        if parameter not in constants and plain == "i32" and parameter != "programs":
            attributes[place,] = [["tt.divisibility", 16]]
    places = {(tuned.fn.arg_names.index(k),): v for k, v in constants.items() if k in signature}
    source = ASTSource(fn=tuned.fn, signature=signature, constexprs=places, attrs=attributes)
    options = {"num_warps": own.num_warps, "num_stages": own.num_stages}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


if __name__ == "__main__":
    made = compiled(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    text = made.asm["ptx"]
    units = "wgmma" if "wgmma.mma_async" in text else "mma" if "mma.sync" in text else ""
    print(json.dumps({"shared": made.metadata.shared, "units": units, "copies_ahead": "cp.async" in text}))
