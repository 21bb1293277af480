"""The losses of torch.nn.functional, unreduced (reduction 0); a reduced one mixes every dim.

v: the value of the loss before its reduction.
"""

from typing import Any

from clipcompiler.dsl import ABSENT, Form, Operand, aligned, aten, op_rule, pointwise, reduces

MEAN = 1


def elementwise(reduction: int, input: Operand, *others: Any) -> Form:
    """v[s] = ℓ(x[s], y[s], …), or its mean or sum"""
    return pointwise(None, input, *others) if reduction == 0 else reduces(input, None)


def by_example(reduction: int, *operands: Operand) -> Form:
    """v[n] = ℓ(x[n,:], y[n,:], …), or its mean or sum"""
    if reduction != 0:
        return reduces(operands[0], None)
    return aligned([(o, 0) for o in operands]) if operands[0].ndim > 1 else aligned()


@op_rule(aten.cross_entropy_loss.default)
def cross_entropy(
    self: Operand,
    target: Operand,
    weight: Any = ABSENT,
    reduction: int = MEAN,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Form:
    """v[n,s] = −Σ_c t[n,c,s] w[c] log softmax_c(x[n,c,s]), t one-hot at the target or smoothed or given"""
    if reduction != 0:
        return reduces(self, None)
    if self.ndim == 1:
        return aligned()
    kept = [0, *range(2, self.ndim)]
    given = target.ndim == self.ndim
    return aligned(*([(self, d), (target, d if given else j)] for j, d in enumerate(kept)))


@op_rule(aten.nll_loss_nd.default)
def nll(self: Operand, target: Operand, weight: Any = ABSENT, reduction: int = MEAN, ignore_index: int = -100) -> Form:
    """v[n,s] = −w[t] x[n,t,s] at the target t[n,s]"""
    return cross_entropy.function(self, target, weight, reduction)


@op_rule(aten.mse_loss.default, aten.l1_loss.default, aten.soft_margin_loss.default)
def distance(self: Operand, target: Operand, reduction: int = MEAN) -> Form:
    """v[s] = (x[s] − t[s])², |x[s] − t[s]| or log(1 + exp(−t[s] x[s]))"""
    return elementwise(reduction, self, target)


@op_rule(aten.smooth_l1_loss.default, aten.huber_loss.default)
def huber(self: Operand, target: Operand, reduction: int = MEAN, delta: float = 1.0) -> Form:
    """v[s] = ½ (x[s] − t[s])² near 0, linear beyond δ"""
    return elementwise(reduction, self, target)


@op_rule(aten.binary_cross_entropy.default)
def binary_cross_entropy(self: Operand, target: Operand, weight: Any = ABSENT, reduction: int = MEAN) -> Form:
    """v[s] = −w[s] (t[s] log x[s] + (1 − t[s]) log(1 − x[s]))"""
    return elementwise(reduction, self, target, weight)


@op_rule(aten.binary_cross_entropy_with_logits.default)
def binary_cross_entropy_with_logits(
    self: Operand, target: Operand, weight: Any = ABSENT, pos_weight: Any = ABSENT, reduction: int = MEAN
) -> Form:
    """v[s] = −w[s] (p t[s] log σ(x[s]) + (1 − t[s]) log(1 − σ(x[s])))"""
    return elementwise(reduction, self, target, weight, pos_weight)


@op_rule(aten.kl_div.default)
def kl_div(self: Operand, target: Operand, reduction: int = MEAN, *, log_target: bool = False) -> Form:
    """v[s] = t[s] (log t[s] − x[s])"""
    return elementwise(reduction, self, target)


@op_rule(aten.poisson_nll_loss.default)
def poisson_nll(input: Operand, target: Operand, log_input: bool, full: bool, eps: float, reduction: int) -> Form:
    """v[s] = exp x[s] − t[s] x[s], or x[s] − t[s] log(x[s] + ε)"""
    return elementwise(reduction, input, target)


@op_rule(aten.hinge_embedding_loss.default)
def hinge_embedding(self: Operand, target: Operand, margin: float = 1.0, reduction: int = MEAN) -> Form:
    """v[s] = x[s] where t[s] = 1, max(0, margin − x[s]) where t[s] = −1"""
    return elementwise(reduction, self, target)


@op_rule(aten.margin_ranking_loss.default)
def margin_ranking(
    input1: Operand, input2: Operand, target: Operand, margin: float = 0.0, reduction: int = MEAN
) -> Form:
    """v[s] = max(0, −t[s] (a[s] − b[s]) + margin)"""
    return elementwise(reduction, input1, input2, target)


@op_rule(aten.multilabel_margin_loss.default)
def multilabel_margin(self: Operand, target: Operand, reduction: int = MEAN) -> Form:
    """v[n] = Σ_jc max(0, 1 − (x[n,t_j] − x[n,c])) / C"""
    return by_example(reduction, self, target)


@op_rule(aten.multi_margin_loss.default)
def multi_margin(
    self: Operand,
    target: Operand,
    p: float = 1,
    margin: float = 1,
    weight: Any = ABSENT,
    reduction: int = MEAN,
) -> Form:
    """v[n] = Σ_c max(0, margin − x[n,t] + x[n,c])^p / C"""
    return by_example(reduction, self, target)


@op_rule(aten.cosine_embedding_loss.default)
def cosine_embedding(
    input1: Operand, input2: Operand, target: Operand, margin: float = 0.0, reduction: int = MEAN
) -> Form:
    """v[n] = 1 − cos(a[n], b[n]) where t[n] = 1, max(0, cos − margin) where t[n] = −1"""
    return by_example(reduction, input1, input2, target)


@op_rule(aten.triplet_margin_loss.default)
def triplet_margin(anchor: Operand, positive: Operand, negative: Operand, *options: Any) -> Form:
    """v[s] = max(0, ‖a[s,:] − p[s,:]‖ − ‖a[s,:] − q[s,:]‖ + margin)"""
    reduction = options[4] if len(options) > 4 else MEAN
    if reduction != 0:
        return reduces(anchor, None)
    return aligned(*([(o, d) for o in (anchor, positive, negative)] for d in range(anchor.ndim - 1)))
