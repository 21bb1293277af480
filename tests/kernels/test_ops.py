"""The kernels as ops: on a CPU their references, traced and compiled with any number of examples, and without data."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from clipcompiler.kernels import ops, references

GIVEN = {
    "gram_sqnorm": ([torch.randn(3, 7, 5), torch.randn(3, 7, 2)], torch.randn(3, 7, 4), [1.0, 0.0]),
    "instantiate_sqnorm": (torch.randn(3, 7, 5), torch.randn(3, 7, 4), True),
    "convolution_sqnorm": (torch.randn(3, 4, 6), torch.randn(3, 2, 8), [3], [1], [0], [1], 2, True),
    "embedding_sqnorm": (torch.randn(3, 7, 5), torch.randint(0, 4, (3, 7)), 2),
    "lstm_scan": (*(torch.rand(s) for s in ((4, 3, 20), (5, 3, 5), (4, 3, 5), (4, 3, 5), (3, 5), (20, 5))),),
    "gru_scan": (*(torch.rand(s) for s in ((4, 3, 15), (4, 3, 5), (5, 3, 5), (4, 3, 5), (15, 5))),),
    "rnn_scan": (*(torch.rand(s) for s in ((5, 3, 5), (4, 3, 5), (5, 5))), False),
}


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("name", GIVEN)
def test_on_a_cpu_an_op_is_its_reference(name):
    found, expected = getattr(ops, name)(*GIVEN[name]), getattr(references, name)(*GIVEN[name])
    for own, true in zip(as_tuple(found), as_tuple(expected), strict=True):
        torch.testing.assert_close(own, true)


@pytest.mark.parametrize("name", GIVEN)
def test_an_op_is_registered_as_torch_wants_it(name):
    """Its schema, its shapes without data, and tracing with sizes that are symbols."""
    torch.library.opcheck(getattr(torch.ops.clipcompiler, name).default, GIVEN[name], test_utils=CHECKS)


CHECKS = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")


def test_a_graph_keeps_an_op_whole():
    """Whatever the number of examples."""
    graph = make_fx(lambda y, x: ops.instantiate_sqnorm(y, x, True), tracing_mode="symbolic")(
        torch.randn(3, 7, 5), torch.randn(3, 7, 4)
    )
    assert [n.target for n in graph.graph.nodes if n.op == "call_function"][-1] is (
        torch.ops.clipcompiler.instantiate_sqnorm.default
    )
    y, x = torch.randn(6, 7, 5), torch.randn(6, 7, 4)
    torch.testing.assert_close(graph(y, x), references.instantiate_sqnorm(y, x, True))
