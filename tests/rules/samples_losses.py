"""Samples of unreduced losses, and of reduced ones, which mix every dim."""

from sampling import fixed, n, of, positive, real, sign, unit, whole

from clipcompiler.dsl import aten

NONE, MEAN, SUM = 0, 1, 2

SAMPLES = [
    of(aten.cross_entropy_loss.default, real(4, 3), whole(4, below=3), None, NONE),
    of(aten.cross_entropy_loss.default, real(4, 3), whole(4, below=3), positive(3), NONE, -100, 0.1),
    of(aten.cross_entropy_loss.default, real(4, 3), whole(4, below=3), None, NONE, 1),
    of(aten.cross_entropy_loss.default, real(4, 3, 5), whole(4, 5, below=3), None, NONE),
    of(aten.cross_entropy_loss.default, real(4, 3, 2, 5), whole(4, 2, 5, below=3), positive(3), NONE),
    of(aten.cross_entropy_loss.default, real(4, 3), unit(4, 3), None, NONE),
    of(aten.cross_entropy_loss.default, real(4, 3, 5), unit(4, 3, 5), positive(3), NONE, -100, 0.2),
    of(aten.cross_entropy_loss.default, real(3), whole(below=3), None, NONE),
    of(aten.cross_entropy_loss.default, real(n, 3), whole(n, below=3), None, MEAN, mixed=True),
    of(aten.nll_loss_nd.default, real(4, 3), whole(4, below=3), None, NONE),
    of(aten.nll_loss_nd.default, real(4, 3, 5), whole(4, 5, below=3), positive(3), NONE, 1),
    of(aten.nll_loss_nd.default, real(4, 3, 2, 5), whole(4, 2, 5, below=3), None, NONE),
    of(aten.nll_loss_nd.default, real(n, 3), whole(n, below=3), None, SUM, mixed=True),
    of(aten.mse_loss.default, real(4, 3), real(4, 3), NONE),
    of(aten.mse_loss.default, real(4, 3), real(3), NONE),
    of(aten.mse_loss.default, real(n, 3), real(n, 3), MEAN, mixed=True),
    of(aten.l1_loss.default, real(4, 3), real(4, 3), NONE),
    of(aten.soft_margin_loss.default, real(4, 3), fixed(sign(4, 3)), NONE),
    of(aten.smooth_l1_loss.default, real(4, 3), real(4, 3), NONE, 0.5),
    of(aten.huber_loss.default, real(4, 3), real(4, 3), NONE, 0.5),
    of(aten.huber_loss.default, real(n, 3), real(n, 3), SUM, mixed=True),
    of(aten.binary_cross_entropy.default, unit(4, 3), unit(4, 3), None, NONE),
    of(aten.binary_cross_entropy.default, unit(4, 3), unit(4, 3), fixed(positive(4, 3)), NONE),
    of(aten.binary_cross_entropy.default, unit(4, 3), unit(4, 3), fixed(positive(3)), NONE),
    of(aten.binary_cross_entropy_with_logits.default, real(4, 3), unit(4, 3), None, None, NONE),
    of(aten.binary_cross_entropy_with_logits.default, real(4, 3), unit(4, 3), fixed(positive(3)), fixed(positive(3)), NONE),
    of(aten.binary_cross_entropy_with_logits.default, real(n, 3), unit(n, 3), mixed=True),
    of(aten.kl_div.default, real(4, 3), unit(4, 3), NONE),
    of(aten.kl_div.default, real(4, 3), real(4, 3), NONE, log_target=True),
    of(aten.poisson_nll_loss.default, real(4, 3), positive(4, 3), True, True, 1e-8, NONE),
    of(aten.poisson_nll_loss.default, positive(4, 3), positive(4, 3), False, False, 1e-8, NONE),
    of(aten.hinge_embedding_loss.default, real(4, 3), sign(4, 3), 1.0, NONE),
    of(aten.margin_ranking_loss.default, real(4, 3), real(4, 3), sign(4, 3), 0.1, NONE),
    of(aten.margin_ranking_loss.default, real(n), real(n), sign(n), 0.1, MEAN, mixed=True),
    of(aten.multilabel_margin_loss.default, real(4, 3), whole(4, 3, below=3), NONE),
    of(aten.multilabel_margin_loss.default, real(3), whole(3, below=3), NONE),
    of(aten.multi_margin_loss.default, real(4, 3), whole(4, below=3), 1, 1, None, NONE),
    of(aten.multi_margin_loss.default, real(4, 3), whole(4, below=3), 2, 0.5, positive(3), NONE),
    of(aten.cosine_embedding_loss.default, real(4, 3), real(4, 3), sign(4), 0.1, NONE),
    of(aten.cosine_embedding_loss.default, real(3), real(3), sign(), 0.1, NONE),
    of(aten.triplet_margin_loss.default, real(4, 3), real(4, 3), real(4, 3), 1.0, 2.0, 1e-6, False, NONE),
    of(aten.triplet_margin_loss.default, real(4, 2, 3), real(4, 2, 3), real(4, 2, 3), 1.0, 2.0, 1e-6, True, NONE),
    of(aten.triplet_margin_loss.default, real(3), real(3), real(3), 1.0, 2.0, 1e-6, False, NONE),
    of(aten.triplet_margin_loss.default, real(n, 3), real(n, 3), real(n, 3), mixed=True),
]
