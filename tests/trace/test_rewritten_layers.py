"""Torch's recurrent layers and cells in a traced graph: single layers in one direction, and single steps."""

import pytest
import torch
from comparison import mostly_slow
from torch import fx, nn
from torch._decomp import decomposition_table

import clipcompiler as cc
from clipcompiler.dsl import layers
from clipcompiler.trace import trace

I, H, T = 3, 2, 4


class Layer(nn.Module):
    """Everything that a layer returns, as losses."""

    def __init__(self, layer, given=False):
        super().__init__()
        self.layer, self.given = layer.double(), given

    def forward(self, x):
        state = None
        if self.given:
            shapes = [s.shape for s in as_tuple(self.layer(x)[1])]
            state = tuple(x.sum((1, 2))[None, :, None].expand(shape).contiguous() for shape in shapes)
            state = state if len(state) > 1 else state[0]
        y, last = self.layer(x, state)
        parts = [y.flatten(1), *(s.transpose(0, 1).flatten(1) for s in as_tuple(last))]
        return torch.cat([torch.sin(part * (1 + torch.arange(part.shape[1]))) for part in parts], 1).sum(1)


class Cell(nn.Module):
    """Two steps of a cell."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell.double()

    def forward(self, x):
        state = self.cell(x[:, 1], self.cell(x[:, 0]))
        return torch.cat(as_tuple(state), 1).sum(1)


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def run(traced, model, x):
    """The value of a traced graph, each op called as it stands."""
    values = {p.name: dict(model.named_parameters())[p.name] for p in traced.parameters.values()}
    constants = {**dict(model.named_buffers()), **traced.constants}
    given = []
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            parameter, buffer = traced.parameter(node), traced.buffers.get(node.name)
            given.append(values[parameter.name] if parameter else x if buffer is None else constants[buffer])
    found = fx.GraphModule(nn.Module(), traced.graph)(*given)
    return found[0] if isinstance(found, (tuple, list)) else found


def targets(traced):
    return [node.target for node in traced.ops()]


LAYERS = [
    nn.RNN(I, H, batch_first=True),
    nn.RNN(I, H, 2, nonlinearity="relu", bidirectional=True, bias=False, batch_first=True),
    nn.LSTM(I, H, 3, batch_first=True),
    nn.LSTM(I, H, 2, bidirectional=True, proj_size=1, batch_first=True),
    nn.LSTM(I, H, 2, bidirectional=True, proj_size=1, bias=False, batch_first=True),
    nn.GRU(I, H, 2, bidirectional=True, batch_first=True),
    nn.GRU(I, H, 2, dropout=0.5, batch_first=True).eval(),
    nn.GRU(I, H, 2, dropout=1.0, batch_first=True),
]


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "given"])
@pytest.mark.parametrize("layer", mostly_slow(LAYERS, every=4), ids=str)
def test_the_layers_one_by_one_are_the_layer(layer, given):
    model, x = Layer(layer, given), torch.randn(5, T, I, dtype=torch.float64)
    model.train(layer.training)
    traced = trace(model, None, (x,))
    torch.testing.assert_close(run(traced, model, x), model(x), rtol=1e-12, atol=1e-12)
    ours = [t for t in targets(traced) if str(t).startswith("clipcompiler.")]
    assert len(ours) == layer.num_layers * (1 + layer.bidirectional)
    assert not any(str(t).startswith(("aten.lstm", "aten.gru", "aten.rnn")) for t in targets(traced))


@pytest.mark.parametrize(
    "cell", [nn.RNNCell(I, H), nn.RNNCell(I, H, False, "relu"), nn.LSTMCell(I, H), nn.GRUCell(I, H, False)], ids=str
)
def test_a_cell_is_two_linear_maps_and_its_gates(cell):
    model, x = Cell(cell), torch.randn(5, 2, I, dtype=torch.float64)
    traced = trace(model, None, (x,))
    torch.testing.assert_close(run(traced, model, x), model(x), rtol=1e-12, atol=1e-12)
    assert targets(traced).count(torch.ops.aten.linear.default) == 4


def test_first_states_of_zeros_are_left_out():
    traced = trace(Layer(nn.LSTM(I, H, batch_first=True)), None, (torch.zeros(5, T, I, dtype=torch.float64),))
    node = next(node for node in traced.ops() if node.target is layers.lstm_layer.default)
    assert node.args[1:3] == (None, None)
    assert torch.ops.aten.zeros.default not in targets(traced)


def test_a_layer_knows_its_module_and_the_users_line():
    traced = trace(Layer(nn.GRU(I, H, batch_first=True)), None, (torch.zeros(5, T, I, dtype=torch.float64),))
    node = next(node for node in traced.ops() if node.target is layers.gru_layer.default)
    origin = traced.origin(node)
    assert origin.module_path == "layer"
    assert origin.code == "y, last = self.layer(x, state)"


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("dtype", mostly_slow([torch.float32, torch.float64]))
def test_a_trace_runs_one_step_however_long_the_sequence(kind, dtype, monkeypatch):
    """As many calls of torch's own loop over steps, each of one step; and the graph of a short sequence."""
    seen = []
    unbind = torch.Tensor.unbind

    def counted(self, dim=0):
        seen.append(self.shape[dim])
        return unbind(self, dim)

    monkeypatch.setattr(torch.Tensor, "unbind", counted)
    model = Layer(kind(I, H, 2, batch_first=True)).to(dtype)
    graphs = {}
    for steps in (3, 200):
        graphs[steps] = [str(t) for t in targets(trace(model, None, (torch.zeros(5, steps, I, dtype=dtype),)))]
    assert graphs[3] == graphs[200]
    assert all(size <= 4 for size in seen)


def test_what_stands_for_a_layer_meanwhile_gets_into_no_graph(monkeypatch):
    """Were torch to take the layer apart, the graph would hold one step: it is refused."""
    whole = torch.export.ExportedProgram.run_decompositions

    def apart(program, table):
        return whole(program, {op: f for op, f in decomposition_table.items() if "lstm" in str(op)})

    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", apart)
    with pytest.raises(cc.UntraceableModel, match="takes a recurrent layer apart"):
        trace(Layer(nn.LSTM(I, H, batch_first=True)), None, (torch.zeros(5, T, I, dtype=torch.float64),))
