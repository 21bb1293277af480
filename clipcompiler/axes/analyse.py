"""The axis analysis: node by node, where the examples lie in every value, or a refusal."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, fx

from clipcompiler.axes.call import Call, call, operands_of
from clipcompiler.axes.inside import layouts_inside, with_returned
from clipcompiler.axes.layout import Layout, batch_dim, carrying_dims, plain, show, size_of
from clipcompiler.axes.places import is_own_place, looked_up_in_place
from clipcompiler.axes.rule_template import HOW_TO, how_to
from clipcompiler.axes.transfer import batch_size_in_value, has_batch, transfer
from clipcompiler.dsl import Auxiliary, Equation, Inside, Operand, RuleSet
from clipcompiler.errors import CompileError, ExamplesMixed, NoRule, UntraceableModel
from clipcompiler.origin import Origin
from clipcompiler.trace.flow import sources_of
from clipcompiler.trace.path import path_to_loss
from clipcompiler.trace.source import op_name
from clipcompiler.trace.traced import TracedLoss

__all__ = ["Analysis", "Axes", "refuse_updates"]

Value = Layout | list[Layout | None]


@dataclass(frozen=True, slots=True)
class Axes:
    """Where the examples lie.

    Attributes:
        traced: the graph analysed; its output is the N losses.
        layouts: for each value the composition of its dims; a list for an op of several outputs.
        calls: the form of every op that reads examples.
        trainable: for each value *without* examples, the trainable parameters it depends on (placeholders).
        places: the values whose elements are the places in the batch of the examples they belong to.
    """

    traced: TracedLoss
    layouts: Mapping[fx.Node, Value]
    calls: Mapping[fx.Node, Call]
    trainable: Mapping[fx.Node, frozenset[fx.Node]]
    places: frozenset[fx.Node] = frozenset()

    def layout(self, node: fx.Node) -> Layout:
        """The composition of the dims of a tensor."""
        value = self.layouts[node]
        if isinstance(value, list):
            raise TypeError(f"{node} has several outputs")
        return value

    def carries(self, node: fx.Node) -> bool:
        """Whether examples lie in the value of a node."""
        value = self.layouts.get(node, ())
        layouts = value if isinstance(value, list) else [value]
        return any(layout is not None and carrying_dims(layout) for layout in layouts)

    def reads_gradient(self, node: fx.Node) -> bool:
        """Whether a gradient can flow from the value of a node to its operands."""
        return differentiable(node)


@dataclass(slots=True)
class Analysis:
    """The axis analysis under way: what is known of the nodes seen so far.

    ``places`` are the values whose elements are the places in the batch of the examples they belong to.
    """

    traced: TracedLoss
    rules: RuleSet
    layouts: dict[fx.Node, Value] = field(default_factory=dict)
    calls: dict[fx.Node, Call] = field(default_factory=dict)
    trainable: dict[fx.Node, frozenset[fx.Node]] = field(default_factory=dict)
    places: set[fx.Node] = field(default_factory=set)

    def visit(self, node: fx.Node) -> None:
        """Finds the layout of one node from those of its operands; a refusal names the path from it to the loss."""
        try:
            self.find(node)
        except ExamplesMixed as refusal:
            raise refusal.along(path_to_loss(node)) from refusal.__cause__

    def find(self, node: fx.Node) -> None:
        """The layout of one node, by its kind."""
        if node.op == "placeholder":
            self.place(node)
        elif node.op == "call_function" and node.target is operator.getitem:
            self.pick(node)
        elif node.op == "call_function":
            self.compute(node)
        elif node.op != "output":
            raise UntraceableModel(
                f"the graph has a {node.op} node ({node.target})",
                origin=self.traced.origin(node),
                remedy="write the forward without control-flow operators",
            )

    def place(self, node: fx.Node) -> None:
        """A placeholder: the batch carries the examples in its first dim, parameters and buffers carry none."""
        if not isinstance(node.meta.get("val"), Tensor):
            return
        shape = self.traced.shape(node)
        if node.name in self.traced.inputs:
            self.layouts[node] = (batch_dim(self.traced.examples_per_unit), *plain(shape[1:]))
            return
        parameter = self.traced.parameter(node)
        self.layouts[node] = plain(shape)
        self.trainable[node] = frozenset([node] if parameter and parameter.trainable else [])

    def pick(self, node: fx.Node) -> None:
        """One output of an op of several."""
        source, index = node.args
        assert isinstance(source, fx.Node) and isinstance(index, int)
        values = self.layouts[source]
        assert isinstance(values, list)
        layout = values[index]
        form = self.calls[source].form if source in self.calls else None
        if isinstance(form, Inside) and index in form.returned.values():
            raise NoRule(
                f"output {index} of {op_name(source)} is for the equations of its rule: no gradient flows through it",
                origin=self.traced.origin(source),
                remedy="use its other outputs",
            )
        if layout is None:
            raise NoRule(
                f"the rule of {op_name(source)} says nothing of its output {index}",
                origin=self.traced.origin(source),
                remedy="use the first output only, or give the op a rule of your own (cc.op_rule)",
            )
        self.layouts[node] = layout
        if differentiable(node):
            self.trainable[node] = self.trainable.get(source, frozenset())

    def compute(self, node: fx.Node) -> None:
        """The output of an op."""
        value = node.meta.get("val")
        if not isinstance(value, (Tensor, list, tuple)):
            return
        operands, sized = operands_of(self.traced, node)
        alone = not any(carrying_dims(self.operand(o)) for o in operands.values())
        if differentiable(node):
            found = (self.trainable.get(o, frozenset()) for o in operands.values())
            self.trainable[node] = frozenset[fx.Node]().union(*found)
        shapes = self.shapes(node)
        if alone and not any(has_batch(size) for shape in shapes for size in shape):
            if sized:
                raise batch_size_in_value(self.traced.origin(node))
            layouts: list[Layout | None] = [plain(shape) for shape in shapes]
        else:
            layouts = self.transferred(node, shapes)
        self.layouts[node] = layouts if isinstance(value, (list, tuple)) else self.single(layouts[0], node)

    def single(self, layout: Layout | None, node: fx.Node) -> Layout:
        """The layout of the only output."""
        if layout is None:
            raise NoRule(
                f"the rule of {op_name(node)} gives its output another number of dims than it has",
                origin=self.traced.origin(node),
                remedy="mend the rule",
            )
        return layout

    def transferred(self, node: fx.Node, shapes: list[tuple[Any, ...]]) -> list[Layout | None]:
        """The layouts that the rule of the op gives its outputs, checked against their extents."""
        origin = self.traced.origin(node)
        rule = self.rules.find(node.target)
        if rule is None:
            raise self.no_rule(node, shapes)
        made = self.calls[node] = call(self.traced, node, rule)
        layouts = {name: self.operand(o) for name, o in made.operands.items()}
        if isinstance(made.form, Equation):
            for x in made.form.where:
                layouts[x.name] = self.auxiliary(x, made, layouts, origin)
        own = frozenset(name for name, o in made.operands.items() if o in self.places)
        in_place = looked_up_in_place(made, own, layouts, origin)
        units = self.traced.examples_per_unit
        forms = made.form.outputs if isinstance(made.form, Inside) else (made.form,) * len(shapes)
        found = [
            transfer(replace(made, form=form), layouts, shape, origin, units, in_place)
            for form, shape in zip(forms, shapes, strict=True)
        ]
        if isinstance(made.form, Inside):
            layouts_inside(made, with_returned(made.form, layouts, found), origin, units)
        if is_own_place(made, own, shapes[0], origin):
            self.places.add(node)
        for layout, shape in zip(found, shapes, strict=True):
            check(layout, shape, origin)
        return found

    def no_rule(self, node: fx.Node, shapes: list[tuple[Any, ...]]) -> NoRule:
        """The refusal of an op that reads examples and has no rule, with the lines that would be one."""
        operands = {name: self.operand(o) for name, o in operands_of(self.traced, node)[0].items()}
        carrying = {name: len(layout) for name, layout in operands.items() if carrying_dims(layout)}
        return NoRule(
            f"no rule says where {op_name(node)} keeps its examples",
            origin=self.traced.origin(node),
            remedy=how_to(node, carrying, len(shapes[0])),
        )

    def auxiliary(self, x: Auxiliary, made: Call, layouts: Mapping[str, Layout], origin: Origin) -> Layout:
        """The layout of a tensor that the rule computes beside the op."""
        rule = self.rules.find(x.op)
        if rule is None:
            raise NoRule(f"no rule says where {x.op} keeps its examples", origin=origin, remedy=HOW_TO)
        inner = Call(made.node, rule, rule(*x.args), made.operands, sized=False)
        own = {a.name: layouts[a.name] for a in x.args if isinstance(a, Operand)}
        layout = transfer(inner, own, x.shape, origin, self.traced.examples_per_unit)
        check(layout, x.shape, origin)
        assert layout is not None
        return layout

    def operand(self, node: fx.Node) -> Layout:
        """The layout of an operand that is one tensor."""
        value = self.layouts[node]
        return value if not isinstance(value, list) else ()

    def shapes(self, node: fx.Node) -> list[tuple[Any, ...]]:
        """The extents of every output of a node."""
        value = node.meta["val"]
        if isinstance(value, (list, tuple)):
            return [self.traced.shape(node, k) for k in range(len(value))]
        return [self.traced.shape(node)]


def differentiable(node: fx.Node) -> bool:
    """Whether a gradient flows through an op: not through detach or zeros_like, nor to integers and truths."""
    value = node.meta["val"]
    outputs = [v for v in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(v, Tensor)]
    name = op_name(node).removeprefix("aten.").split(".")[0]
    cut = name.rstrip("_") == "detach" or name.startswith("new_") or name.endswith("_like")
    return not cut and any(v.is_floating_point() or v.is_complex() for v in outputs)


def check(layout: Layout | None, shape: tuple[Any, ...], origin: Origin) -> None:
    """The compositions multiply to the extents; where they do not, a rule is wrong and nothing is promised."""
    if layout is None:
        return
    wrong = [d for d, (dim, size) in enumerate(zip(layout, shape, strict=True)) if size_of(dim) != size]
    if wrong:
        raise CompileError(
            f"the rule of {origin.op} gives {show(layout)} for a value of extents {list(map(str, shape))}",
            origin=origin,
            remedy="mend the rule: it lets a dim run along with one of another extent",
        )


def refuse_updates(analysis: Analysis) -> None:
    """A buffer may be updated from parameters and buffers alone, as by a power iteration, and without a gradient."""
    for name, node in analysis.traced.updates.items():
        origin = analysis.traced.origin(node)
        if any(source.name in analysis.traced.inputs for source in sources_of([node])):
            raise ExamplesMixed(
                f"the buffer {name} is updated from the whole batch",
                origin=origin,
                remedy="put the module in eval mode, or turn its running statistics off",
            )
        if analysis.trainable.get(node):
            raise UntraceableModel(
                f"the model updates its buffer {name} in its forward, with a value that has a gradient",
                origin=origin,
                remedy="update the buffer under torch.no_grad()",
            )
