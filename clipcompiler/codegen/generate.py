"""Plan → Program: the plan as a readable Python module."""

from __future__ import annotations

from torch import fx

from clipcompiler.codegen.body import Body, Part
from clipcompiler.codegen.by_length import decide_norms, decide_sums
from clipcompiler.codegen.calls import quoted
from clipcompiler.codegen.clip_factors import ClipFactors, write_clip_factors
from clipcompiler.codegen.forward import write_cotangents, write_forward, write_functions, write_parameters
from clipcompiler.codegen.helpers import ADD, UNITS_OF
from clipcompiler.codegen.kernel_calls import launches
from clipcompiler.codegen.names import Names, identifier
from clipcompiler.codegen.norms import Norms
from clipcompiler.codegen.one_norm import write_norm
from clipcompiler.codegen.operands import Operands, dtype_of_norms
from clipcompiler.codegen.program import Program
from clipcompiler.codegen.pull_back import PullBack
from clipcompiler.codegen.statistics import statistics_of
from clipcompiler.codegen.sums import Sums
from clipcompiler.codegen.template import module_source
from clipcompiler.codegen.updates import write_updates
from clipcompiler.codegen.vectors import Vectors
from clipcompiler.plan import Choice, Order, Plan

__all__ = ["generate"]


def generate(plan: Plan) -> Program:
    """Writes forward, cotangents, squared norms, clip factors and clipped sums, in this order.

    The same plan always gives the same text.
    """
    derived = plan.derived
    traced = derived.axes.traced
    names = Names(str(x.letter) for x in traced.lengths)
    inputs = {name: names.fresh(name) for name in traced.inputs}
    body = Body(names)
    leaves = {c.source: None for c in plan.choices if c.reweighted}
    values = write_parameters(body, derived, inputs, leaves)
    nodes = names.of_nodes(traced)
    write_updates(body, derived, values, nodes)
    dtype = dtype_of_norms(derived)
    graphs = write_functions(body, derived, values, nodes, dtype, leaves)
    statistics = statistics_of(names, derived, nodes)
    taps = write_forward(body, derived, values, nodes, statistics, leaves)
    forward = body.sections[-1]
    cotangents = write_cotangents(body, taps, again=bool(leaves))
    labels = {c.source: identifier(c.name) for c in plan.choices}
    operands = Operands(derived.axes, body, values, cotangents, dtype, statistics)
    back = PullBack(body, derived.functions, graphs, labels, dtype)
    if derived.by_unit:
        body.section("units: their examples side by side", "with torch.no_grad()")
        body.line(f"ids, unit_of, examples, present = {UNITS_OF}(unit_ids)")
        body.line("units, members = examples.shape")
    vectors = Vectors.of(plan)
    norms = write_norms(body, plan, operands, labels, back, vectors)
    clips = write_clip_factors(body, plan, norms.squares)
    gradients = write_sums(body, plan, Sums(body, operands, labels, norms.each, clips, norms.at_length), back, vectors)
    if leaves:
        gradients |= write_second_pass(body, plan, {s: values[s] for s in leaves}, clips)
    body.release(forward, ("losses", "norms", "clip_factors"))
    return module_source(plan, body, tuple(inputs.values()), gradients)


def write_norms(
    body: Body, plan: Plan, operands: Operands, labels: dict[fx.Node, str], back: PullBack, vectors: Vectors
) -> Norms:
    """The squared norm of every parameter, each under its equation and the reason for its order."""
    body.section("squared norms of the per-example gradients", "with torch.no_grad()")
    norms = Norms(body, operands, labels)
    guests: dict[fx.Node, list[Choice]] = {}
    sometimes = {source for decision in plan.decisions for source in decision.sources}
    for choice in plan.choices:
        if choice.host is not None and choice.source not in sometimes:
            guests.setdefault(choice.host, []).append(choice)
    always = [c for c in plan.choices if c.order is not Order.FOLDED and c.source not in sometimes]
    norms.launches = launches((choice, len(guests.get(choice.source, []))) for choice in always)
    norms.apart = vectors.sources
    for choice in always:
        write_norm(body, norms, choice, guests.get(choice.source, []))
        body.end_paragraph()
    norms.squares |= vectors.square(body, norms.each)
    body.end_paragraph()
    for decision in plan.decisions:
        decide_norms(body, norms, decision, guests)
        body.end_paragraph()
    pulled = [choice for choice in plan.choices if choice.order is Order.PULLED]
    if pulled:
        values = [choice.source for choice in plan.choices if choice.order is Order.FUNCTION]
        back.by_example(values, [choice.source for choice in pulled], norms.each)
        for choice in pulled:
            norms.add(choice, norms.square_sum(norms.each[choice.source]))
    return norms


def write_sums(body: Body, plan: Plan, sums: Sums, back: PullBack, vectors: Vectors) -> dict[str, str]:
    """The clipped sum of every parameter, by name."""
    body.section("clipped sums: Σ_n c_n g[n]", "with torch.no_grad()")
    sometimes = {source for decision in plan.decisions for source in decision.sources}
    for choice in plan.choices:
        if plan.sums(choice) and choice.source not in sometimes | vectors.sources:
            sums.write(choice)
            body.end_paragraph()
    vectors.sum(sums)
    body.end_paragraph()
    for decision in plan.decisions:
        decide_sums(body, sums, plan, decision)
        body.end_paragraph()
    once = [c.source for c in plan.choices if c.order is Order.READ_ONCE and not c.reweighted]
    if once:
        body.section("the chain rule to the parameters behind functions", part=Part.AFTER)
        values = [choice.source for choice in plan.choices if choice.parameters and choice.order is not Order.FUNCTION]
        back.of_sums(values, once, sums.gradients)
    return {c.name: sums.gradients[c.source] for c in plan.choices if c.is_parameter and c.source in sums.gradients}


def write_second_pass(body: Body, plan: Plan, leaves: dict[fx.Node, str], clips: ClipFactors) -> dict[str, str]:
    """Σ_n c_n ∇ℓ_n = ∇ Σ_n c_n ℓ_n, the c_n held fixed. Source: Lee & Kifer, PoPETs 2021, ReweightGP."""
    body.section("clipped sums: the gradients of Σ_n c_n ℓ_n, by a second backward pass", "with torch.enable_grad()")
    clip = clips.of_losses()
    summed = {c.source: body.names.fresh(f"{leaves[c.source]}_grad") for c in plan.choices if c.source in leaves}
    comma = "" if len(summed) > 1 else ","
    body.line(f"{', '.join(summed.values())}{comma} = torch.autograd.grad(")
    body.line(f"    (losses * {clip}).sum(),")
    body.line(f"    ({', '.join(leaves[source] for source in summed)}{comma}),")
    if plan.derived.functions.nodes:  # whose graph the next examples read too
        body.line("    retain_graph=True,")
    body.line("    allow_unused=True,")
    body.line("    materialize_grads=True,")
    body.line(")")
    body.comment("copies: autograd gives two parameters that are added one and the same gradient")
    keys = {c.name: quoted(c.name) for c in plan.choices if c.source in leaves}
    for choice in plan.choices:
        if choice.source in leaves:
            body.line(f"{ADD}(sums, {keys[choice.name]}, {summed[choice.source]}.clone())")
    return {name: f"sums[{key}]" for name, key in keys.items()}
