"""Stage 2, axes: ``TracedLoss`` → ``Axes``: where the examples lie in every value, or a refusal."""

from clipcompiler.axes.analyse import Analysis, Axes, refuse_updates
from clipcompiler.axes.example_losses import example_losses
from clipcompiler.axes.scalar_loss import open_reduction
from clipcompiler.dsl import RuleSet
from clipcompiler.errors import NoRule
from clipcompiler.trace.traced import TracedLoss

__all__ = ["Axes", "analyse"]


def analyse(traced: TracedLoss, rules: RuleSet) -> Axes:
    """Finds the composition of every dim of every value, and the N losses.

    Raises:
        ExamplesMixed: where an op reads several examples at once, or a buffer is updated from the batch.
        NoRule: where an op that reads examples has no rule.
        UnsupportedLoss: where the loss is neither N losses nor a plain sum or mean of N losses.
        UntraceableModel: where the model writes a value with a gradient to a buffer, or holds for some batch sizes
            only.
    """
    scalar = traced.shape(traced.loss) == ()
    opened, terms = open_reduction(traced)
    analysis = Analysis(opened, rules)
    try:
        for node in opened.graph.nodes:
            analysis.visit(node)
    except NoRule as error:
        if traced.refusal is not None:
            raise traced.refusal from error
        raise
    refuse_updates(analysis)
    if traced.refusal is not None:
        raise traced.refusal
    closed = example_losses(analysis, terms, scalar=scalar)
    return Axes(closed, analysis.layouts, analysis.calls, analysis.trainable, frozenset(analysis.places))
