"""A model → what Opacus trains in its place: its own recurrent layers and attention for those of torch."""

from __future__ import annotations

from torch import nn

__all__ = ["fixed"]


def fixed(model: nn.Module) -> tuple[nn.Module, str]:
    """The model with the replacements that Opacus asks for, and a note of them.

    ``nn.RNN`` is replaced as ``nn.LSTM`` is, though Opacus has no fixer for it.

    Raises:
        opacus.validators.errors.UnsupportedModuleError: where a module has no replacement.
    """
    from opacus.validators import ModuleValidator

    made = with_rnns_replaced(ModuleValidator.fix(model))
    ModuleValidator.validate(made, strict=True)
    own = {type(m) for m in made.modules()} - {type(m) for m in model.modules()}
    replaced = sorted(kind.__name__ for kind in own if kind.__name__.startswith("DP"))
    return made, f"with {', '.join(replaced)}" if replaced else ""


def with_rnns_replaced(model: nn.Module) -> nn.Module:
    """The model with ``DPRNN`` for ``nn.RNN``, of the same weights."""
    from opacus.layers import DPRNN

    for parent in list(model.modules()):
        for name, old in list(parent.named_children()):
            if type(old) is nn.RNN:
                made = DPRNN(
                    old.input_size,
                    old.hidden_size,
                    old.num_layers,
                    bias=old.bias,
                    batch_first=old.batch_first,
                    bidirectional=old.bidirectional,
                    nonlinearity=old.nonlinearity,
                )
                made.load_state_dict(old.state_dict())
                setattr(parent, name, made.to(next(old.parameters()).device))
    return model
