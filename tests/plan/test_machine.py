"""The machine that plans are made for: measured once, kept, found again; and the chunk that is fastest on it."""

import json
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

import clipcompiler as cc
from clipcompiler.plan import Machine, fastest_chunk, machine_of, measure, sizes_of
from clipcompiler.plan.chunk import Sizes
from paper_models import build

CPU = torch.device("cpu")
MEBI = 2**20


def test_a_machine_is_measured_once_and_kept(tmp_path, monkeypatch):
    """In under ten seconds; the second look reads the file."""
    monkeypatch.setenv("CLIPCOMPILER_MACHINE", str(tmp_path / "machine.json"))
    start = time.perf_counter()
    first = machine_of(CPU)
    assert time.perf_counter() - start < 10
    assert json.loads((tmp_path / "machine.json").read_text())["flops"] == first.flops
    monkeypatch.setattr(measure, "measured", lambda device: pytest.fail("measured again"))
    assert machine_of(CPU) == first


def test_what_is_measured_is_of_this_world():
    """Wide bounds: they hold on any machine that runs the tests."""
    found = measure.measured(CPU)
    assert 1e9 < found.flops < 1e13
    assert found.fresh > 1e8
    assert 1e9 < found.bytes < 1e13
    assert 1e-7 < found.call < 1e-3
    assert found.cache > 2**15
    assert "cpu" in found.name


def test_the_nominal_machine_is_asked_for_by_name(monkeypatch):
    monkeypatch.setenv("CLIPCOMPILER_MACHINE", "nominal")
    assert machine_of(CPU) == Machine()


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch, caplog):
    """The machine is measured each time then, and a warning says so."""
    (tmp_path / "file").write_text("")
    measure.keep(Machine(), tmp_path / "file" / "machine.json")
    assert "could not be kept" in caplog.text


def test_small_tensors_are_run_at_once_and_large_ones_in_chunks():
    """Chunks pay where they keep tensors below what the allocator hands out again, and parameters are few."""
    machine = Machine()
    small = Sizes((MEBI // 64,) * 10, parameters=MEBI, ops=10, flops=1e6)
    assert fastest_chunk(small, 32, machine) == 32
    large = Sizes((4 * MEBI,) * 10, parameters=MEBI, ops=10, flops=1e6)
    assert fastest_chunk(large, 32, machine) * 4 * MEBI <= machine.reused
    heavy = Sizes((4 * MEBI,) * 10, parameters=4096 * MEBI, ops=10, flops=1e6)
    assert fastest_chunk(heavy, 32, machine) == 32
    assert fastest_chunk(small, 0, machine) == 0


def test_chunks_stay_below_what_the_allocator_keeps():
    """Tensors that are small one by one, and together more than is kept of freed memory: 4 MiB an example, 112 kept."""
    machine = Machine(reused=32 * MEBI, cache=1e12)
    many = Sizes((MEBI // 8,) * 32, parameters=MEBI, ops=10, flops=1e6)
    assert fastest_chunk(many, 128, machine) == 26  # a fifth: 104 MiB
    assert fastest_chunk(replace(many, peak=8 * MEBI), 128, machine) == 13
    assert fastest_chunk(many, 128, replace(machine, reused=1e12)) == 128
    assert fastest_chunk(replace(many, frozen=1024 * MEBI), 128, machine) == 128  # each chunk reads them again


def test_less_than_a_few_percent_of_a_step_is_not_worth_chunks():
    """The same gain, in a step that takes a thousand times as long."""
    sizes = {"tensors": (4 * MEBI,) * 4, "parameters": MEBI, "ops": 10}
    assert fastest_chunk(Sizes(**sizes, flops=1e6), 16, Machine()) < 16
    assert fastest_chunk(Sizes(**sizes, flops=1e12), 16, Machine()) == 16


def test_sizes_are_those_of_the_forward():
    """The activations of the MLP: two hidden layers, before and after their sigmoids, the logits, the losses."""
    batch = torch.randn(4, 1, 28, 28), torch.zeros(4, dtype=torch.long)
    step = cc.compile(build("mlp"), nn.CrossEntropyLoss(reduction="none")).prepare(*batch)
    sizes = sizes_of(step.plan)
    assert sorted(sizes.tensors) == [4, 40, 512, 512, 1024, 1024]
    assert sizes.parameters == 4 * sum(p.numel() for p in step.model.parameters())


def test_sizes_of_frozen_parameters_stand_apart():
    """Only what is trained has gradients to add up."""
    model = nn.Sequential(nn.Linear(6, 5).requires_grad_(False), nn.Linear(5, 3))
    step = cc.compile(model, nn.CrossEntropyLoss(reduction="none"))
    sizes = sizes_of(step.prepare(torch.randn(4, 6), torch.zeros(4, dtype=torch.long)).plan)
    assert (sizes.parameters, sizes.frozen) == (4 * 18, 4 * 35)


def test_a_convolution_calls_several_kernels():
    """It orders its input and its weights anew; a view calls none."""
    batch = torch.randn(4, 1, 6, 6), torch.zeros(4, dtype=torch.long)
    loss = nn.CrossEntropyLoss(reduction="none")
    wide, flat = nn.Conv2d(1, 2, 6), nn.Linear(36, 2)
    convolved, product = (
        sizes_of(cc.compile(nn.Sequential(*layers), loss).prepare(*batch).plan).ops
        for layers in ((wide, nn.Flatten()), (nn.Flatten(), flat))
    )
    assert convolved == product + 7


def test_a_recurrent_layer_calls_kernels_at_every_position():
    batch = torch.randn(4, 1, 28, 28), torch.zeros(4, dtype=torch.long)
    step = cc.compile(build("lstm"), nn.CrossEntropyLoss(reduction="none")).prepare(*batch)
    assert sizes_of(step.plan).ops > 28 * 10


@pytest.mark.parametrize(("read", "frozen"), [("rows", 0), ("whole", 4 * 6 * 5)])
def test_a_frozen_table_is_not_read_whole(read, frozen):
    """Of a table of 6 rows of 5 numbers a chunk reads the rows of its tokens; all of it where it is the head too."""

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.layer = nn.Embedding(6, 5).requires_grad_(False), nn.Linear(5, 5)

        def forward(self, tokens):
            h = self.layer(self.table(tokens).mean(1))
            return (h if read == "rows" else h @ self.table.weight.T).square().sum(1)

    sizes = sizes_of(cc.compile(Classifier(), example_inputs=(torch.randint(0, 6, (4, 3)),)).plan)
    assert (sizes.frozen, sizes.parameters) == (frozen, 4 * 30)


def test_of_ways_as_fast_the_least_memory():
    """8 examples at a time take as long as 32 where nothing is paid for a chunk; with a kernel's call they do not."""
    machine = Machine(call=0.0, bytes=1e30, cache=1e30, fresh=1e9)
    sizes = Sizes((8 * MEBI,), parameters=0, ops=10, flops=1e9)
    assert fastest_chunk(sizes, 32, machine) == 1
    assert fastest_chunk(sizes, 32, replace(machine, call=1e-5)) == 4  # 32 MiB are handed out again
