"""A decision of the plan → ``if T <= 341:`` … ``else:`` around the norms, and around the sums, of its parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from torch import fx

from clipcompiler.codegen.body import Body
from clipcompiler.codegen.laid import Laid
from clipcompiler.codegen.norms import Norms
from clipcompiler.codegen.one_norm import write_norm
from clipcompiler.codegen.sums import Sums
from clipcompiler.plan import Choice, Decision, Order, Piece, Plan

__all__ = ["decide_norms", "decide_sums"]

WORD = re.compile(r"\w+")


def decide_norms(body: Body, norms: Norms, decision: Decision, guests: Mapping[fx.Node, list[Choice]]) -> None:
    """The squared norms of some parameters, by length; what one branch keeps for the sums is remembered."""
    always = {c.source for c in decision.pieces[0].choices}
    for piece in decision.pieces:
        always &= {c.source for c in piece.choices if c.order is not Order.FOLDED}
    sources = [source for source in decision.sources if source in always]
    own = {source: body.names.fresh(f"{norms.labels[source]}_sq") for source in sources}
    norms.named |= own
    kept: list[dict[fx.Node, Laid]] = []
    for piece in branches(body, decision):
        grams, squares, each = list(norms.grams), dict(norms.squares), dict(norms.each)
        start = len(body.sections[-1].lines)
        for choice in piece.choices:
            if choice.order is not Order.FOLDED:
                biases = [c for c in piece.choices if c.host is choice.source]
                write_norm(body, norms, choice, [*guests.get(choice.source, []), *biases])
        for source in [s for s in norms.squares if s not in squares and s not in always]:  # folded in elsewhere
            host = own[next(c.host for p in decision.pieces for c in p.choices if c.source is source and c.host)]
            body.line(f"{host} = {host} + {norms.squares[source]}")
        kept.append({source: laid for source, laid in norms.each.items() if source not in each})
        held = {word for laid in kept[-1].values() for word in WORD.findall(laid.text)}
        body.let_go([name for name in body.bound_since(start) if name not in held])
        norms.grams[:] = grams
        norms.squares, norms.each = squares, each
    norms.squares |= own
    norms.at_length.append(kept)


def decide_sums(body: Body, sums: Sums, plan: Plan, decision: Decision) -> None:
    """The clipped sums of some parameters, by length; with no condition where all lengths are summed alike."""
    kept = sums.at_length[plan.decisions.index(decision)]
    lines = body.sections[-1].lines
    each, found, begin, written = sums.each, [], len(lines), []
    for k, piece in enumerate(branches(body, decision)):
        scaled, summed, gradients = dict(sums.scaled), dict(sums.summed), dict(sums.gradients)
        start = len(body.sections[-1].lines)
        sums.each = {**each, **kept[k]}
        for choice in piece.choices:
            if plan.sums(choice):
                sums.write(choice)
        held = dict.fromkeys(word for laid in kept[k].values() for word in WORD.findall(laid.text) if word != "flatten")
        kept_here = [name for name in held if name.isidentifier()]
        written.append((lines[start:], kept_here))
        body.let_go([*kept_here, *body.bound_since(start)])
        found.append({source: text for source, text in sums.gradients.items() if source not in gradients})
        sums.scaled, sums.summed, sums.gradients = scaled, summed, gradients
    sums.each = each
    if all(own == written[0] for own in written):
        lines[begin:] = written[0][0]
        body.let_go(written[0][1])
    for source in found[0]:
        sums.gradients[source] = by_length(decision, [texts[source] for texts in found])


def branches(body: Body, decision: Decision) -> Iterator[Piece]:
    """Each piece, within its branch."""
    before = set(body.names.taken)
    everywhere = set(before)
    for k, piece in enumerate(decision.pieces):
        body.names.taken = set(before)
        test = "else:" if piece.most is None else f"{'el' if k else ''}if {decision.letter} <= {piece.most}:"
        with body.branch(test):
            yield piece
        everywhere |= body.names.taken
    body.names.taken = everywhere


def by_length(decision: Decision, texts: Sequence[str]) -> str:
    """One expression for all lengths, or one for each piece."""
    found = texts[-1]
    for piece, text in zip(reversed(decision.pieces[:-1]), reversed(texts[:-1]), strict=True):
        if text != found:
            found = f"{text} if {decision.letter} <= {piece.most} else {found}"
    return found
