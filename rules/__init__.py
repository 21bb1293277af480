"""The rules of the ops of torch, one op family a file. A user's own rule file looks like one of these."""

if __name__ != "clipcompiler.rules":
    raise ImportError("import the rules as clipcompiler.rules: under another name they would be loaded twice")

from clipcompiler.dsl import RuleSet

from . import (
    affine,
    convolution,
    copies,
    creation,
    indexing,
    losses,
    normalisation,
    pointwise,
    pooling,
    random,
    reduction,
    shape,
    softmax,
)

__all__ = ["default_rules"]

#: Every rule of this package.
default_rules: RuleSet = RuleSet.of_modules(
    (
        affine,
        convolution,
        copies,
        creation,
        indexing,
        losses,
        normalisation,
        pointwise,
        pooling,
        random,
        reduction,
        shape,
        softmax,
    )
)
