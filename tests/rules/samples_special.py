"""Samples of the functions of torch.special that are ops of their own."""

from sampling import fixed, of, positive, real, unit

from clipcompiler.dsl import aten

ANY = ("i0", "ndtr", "expit", "erf", "erfc", "exp2", "expm1", "sinc", "round")
POSITIVE = ("log1p", "psi", "digamma", "gammaln")

SAMPLES = [
    *(of(getattr(aten, f"special_{name}").default, real(4, 3)) for name in ANY),
    *(of(getattr(aten, f"special_{name}").default, positive(4, 3)) for name in POSITIVE),
    of(aten.special_erfinv.default, unit(4, 3)),
    of(aten.special_logit.default, unit(4, 3)),
    of(aten.special_logit.default, unit(4, 3), 1e-6),
    of(aten.special_multigammaln.default, positive(4, 3), 1),
    of(aten.special_gammainc.default, fixed(positive(4, 3)), positive(4, 3)),
    of(aten.special_gammaincc.default, fixed(positive(3)), positive(4, 3)),
    of(aten.special_xlogy.default, real(4, 3), positive(3)),
]
