"""What changes a value or a gradient behind autograd's back is refused; what looks like it and is none is exact."""

import pytest
import torch
from patterns import Pattern, check, losses
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import clipcompiler as cc

BATCH = (torch.randn(4, 5, dtype=torch.float64), torch.randn(4, dtype=torch.float64))


def layers():
    """f: [5] → [3], g: [3] → [2]."""
    return {"f": nn.Linear(5, 3), "g": nn.Linear(3, 2)}


def written(write):
    """A value that has a gradient, written by ``write`` before it is read."""

    def forward(model, x):
        h = model.f(x)
        write(h)
        return model.g(h)

    return forward


@torch.no_grad()
def sort_into(h):
    """A write by a tuple of outputs."""
    torch.sort(torch.ones_like(h), dim=1, out=(h, torch.empty(h.shape, dtype=torch.long)))


def own_memory(write):
    """Under no_grad."""
    return torch.no_grad()(write)


WRITES = {
    "in place": own_memory(lambda h: h.mul_(2)),
    "an element": own_memory(lambda h: h.__setitem__((slice(None), 0), 1.0)),
    "a part": own_memory(lambda h: h.split([1, 2], 1)[0].mul_(2)),
    "out": own_memory(lambda h: torch.add(torch.ones_like(h), 1, out=h)),
    "a tuple of outputs": sort_into,
    "several at once": own_memory(lambda h: torch._foreach_mul_([h], 2.0)),
    "what eval-mode dropout returns": own_memory(lambda h: F.dropout(h, 0.5, training=False).mul_(2)),
    "what dropout of nothing returns": own_memory(lambda h: F.dropout(h, 0.0).mul_(2)),
    "an alias": lambda h: h.detach().clamp_(min=0),
    "an element of an alias": lambda h: h.detach().__setitem__((slice(None), 0), 1.0),
    "an alias of a part": lambda h: h[:, :1].detach().mul_(2),
    "data": lambda h: h.data.mul_(2),
    "data copied into": lambda h: h.data.copy_(torch.ones_like(h)),
    "data replaced": lambda h: setattr(h, "data", 3 * h.detach()),
    "data set below Python": lambda h: torch._C._TensorBase.data.__set__(h, 3 * h.detach()),
    "set_": own_memory(lambda h: h.set_(torch.ones_like(h))),
    "detach_": lambda h: h.detach_(),
    "the op detach_": lambda h: torch.ops.aten.detach_(h),
}


def shrunk(model, x):
    """A weight kept small by the forward itself."""
    with torch.no_grad():
        model.f.weight.mul_(0.99)
    return model.g(model.f(x))


def normalised(model, x):
    """The same through data."""
    model.f.weight.data = F.normalize(model.f.weight.data, dim=1)
    return model.g(model.f(x))


def frozen(model, x):
    """A layer kept out of the gradient for one of its uses."""
    model.f.requires_grad_(False)
    h = model.f(x)
    model.f.requires_grad_(True)
    return model.g(h + model.f(x))


def replaced(model, x):
    """A parameter that each forward makes anew."""
    model.f.weight = nn.Parameter(2 * model.f.weight)
    return model.g(model.f(x))


def written_with_grad(model, x):
    """A value made without gradients, into which one flows."""
    with torch.no_grad():
        h = torch.zeros_like(x[:, :3])
    h.add_(model.f(x))
    return model.g(h)


def written_with_grad_inside(model, x):
    """The same, in a region with gradients inside one without."""
    with torch.no_grad():
        h = torch.zeros_like(x[:, :3])
        with torch.enable_grad():
            h.add_(model.f(x))
    return model.g(h)


def hooked(register):
    """A gradient changed where it is computed."""

    def forward(model, x):
        h = model.f(x)
        register(h)
        return model.g(h)

    return forward


def changed_savings(model, x):
    """What the backward reads, changed."""
    with torch.autograd.graph.saved_tensors_hooks(lambda t: 2 * t, lambda t: t):
        return model.g(model.f(x).pow(2))


def mutable_savings(model, x):
    """What the backward reads, kept although it is written."""
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        h = model.f(x).exp()
        h.mul_(2)
        return model.g(h)


def below(model, x):
    """Ops that autograd does not see."""
    with torch._C._AutoDispatchBelowAutograd():
        h = model.f(x)
    return model.g(h)


def accumulated(model, x):
    """A backward pass that adds to the gradients of parameters."""
    h = model.f(x)
    h.backward(torch.ones_like(h))
    return model.g(model.f(x))


def mapped(model, x):
    """A write in a function of one example."""
    return model.g(torch.func.vmap(lambda row: model.f(row).detach().mul_(2))(x) + model.f(x))


def module_hooked(model, x):
    """A hook that the first forward registers."""
    model.f.register_full_backward_hook(lambda module, gradients, _: tuple(g and 2 * g for g in gradients))
    return model.g(model.f(x).relu())


REFUSED = {
    **{f"a write: {name}": written(write) for name, write in WRITES.items()},
    **{f.__name__: f for f in (shrunk, normalised, frozen, replaced, written_with_grad, written_with_grad_inside)},
    **{f.__name__: f for f in (changed_savings, mutable_savings, below, accumulated, mapped, module_hooked)},
    "a hook of a node": hooked(lambda h: h.grad_fn.register_hook(lambda gradients, _: gradients)),
    "a hook before a node": hooked(lambda h: h.grad_fn.register_prehook(lambda gradients: gradients)),
    "an edge": hooked(torch.autograd.graph.get_gradient_edge),
    "a hook of several": hooked(lambda h: torch.autograd.graph.register_multi_grad_hook([h], lambda gradients: None)),
    "a hook of a parameter": lambda m, x: m.f.bias.register_post_accumulate_grad_hook(lambda p: None) or m.f(x),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_changes_behind_autograd_is_refused(name):
    """The graph of functional ops holds another gradient."""
    with pytest.raises(cc.UntraceableModel) as caught:
        cc.compile(Pattern(REFUSED[name], **layers()).double(), losses).gradients(*BATCH)
    assert caught.value.remedy
    assert name == "module_hooked" or caught.value.origin.file == __file__
    assert "torch.export" not in str(caught.value)


def test_a_hook_of_all_modules_is_refused():
    """It changes gradients of any model."""
    handle = nn.modules.module.register_module_full_backward_hook(lambda module, gradients, _: None)
    try:
        with pytest.raises(cc.UntraceableModel, match="for all modules"):
            cc.compile(Pattern(lambda m, x: m.g(m.f(x)), **layers()).double(), losses).gradients(*BATCH)
    finally:
        handle.remove()


def differentiated(create_graph):
    """The derivative of a value, with a gradient of its own or as a number."""

    def forward(model, x):
        h = model.f(x)
        (slope,) = torch.autograd.grad(h.pow(3), h, torch.ones_like(h), create_graph=create_graph, retain_graph=True)
        return model.g(h * slope)

    return forward


def drawn_over(model, x):
    """In-place ops that autograd sees."""
    h = model.f(x)
    h += 1
    h[:, 0] *= 2
    h[:, :1].mul_(2)
    b = torch.zeros_like(x[:, :3])
    b[:, 0] = F.relu(h, inplace=True)[:, 1]
    b += torch.sin(x[:, :3], out=torch.empty_like(x[:, :3]))
    return model.g(h + b)


def scratch(model, x):
    """A value made and written without gradients."""
    with torch.no_grad():
        b = torch.zeros_like(x)
        b.add_(x)
        b[:, 0] = 2
    return model.g(model.f(b))


def unfrozen(model, x):
    """A value that is a leaf."""
    return model.g(model.f(x).detach().requires_grad_() * model.f(x))


def saved_elsewhere(model, x):
    """Hooks of torch's own, which give back what they took."""
    with torch.autograd.graph.save_on_cpu():
        return model.g(checkpoint(model.f, x, use_reentrant=False).pow(2))


def in_eval_mode(model, x):
    """Dropout that is none is no alias that is lost."""
    h = model.f(x)
    k = F.dropout(h, 0.5, training=False)
    k += 1
    return model.g(h * k)


EXACT = {
    "grad with a graph": differentiated(True),
    "grad without a graph": differentiated(False),
    "data, read": lambda m, x: m.g(m.f(x) * m.f(x).data + m.f.bias.data),
    "vmap": lambda m, x: m.g(torch.func.vmap(m.f)(x)),
    "functional_call": lambda m, x: m.g(torch.func.functional_call(m.f, {"weight": 2 * m.f.weight}, (x,))),
    "a value before it is written": lambda m, x: m.g((h := m.f(x).clone()).detach() * h.mul_(2)),
    **{f.__name__: f for f in (drawn_over, scratch, unfrozen, saved_elsewhere, in_eval_mode)},
}


@pytest.mark.parametrize("name", EXACT)
def test_what_autograd_knows_of_is_exact(name):
    """In place or not."""
    check(Pattern(EXACT[name], **layers()), (5,))
