"""Functions of a generated module: recurrent layers that give the cotangents of their pre-activations.

A layer runs step by step and keeps its gates; where x is on a GPU it runs fused, and its gates are computed after that,
all steps at once. Its backward scans from the last step to the first, and leaves the cotangents where the gates were.
"""

from __future__ import annotations

from textwrap import indent

__all__ = ["AFFINE_BY_STEP", "GRU_LAYER", "LSTM_LAYER", "RECURRENT_SOURCES", "RNN_LAYER", "SCANS"]

#: The functions by name; the layers are named as the ops that they stand for.
LSTM_LAYER, GRU_LAYER, RNN_LAYER, AFFINE_BY_STEP = "lstm_layer", "gru_layer", "rnn_layer", "affine_by_step"

#: The backward of each layer, step by step.
LSTM_STEPS = """\
        sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
        tanh_backward = torch.ops.aten.tanh_backward.grad_input
        dh, dc = dh_by_step[-1].clone(memory_format=torch.contiguous_format), dc_last.clone()
        dp = None if W_hr is None else dh.new_empty(dh_by_step.shape)
        a, b = torch.empty_like(dc), torch.empty_like(dc)
        for t in reversed(range(len(gates))):
            i, f, g, o = gates[t].chunk(4, 1)
            if W_hr is not None:
                dp[t] = dh
            dm = dh if W_hr is None else dh @ W_hr
            tanh_backward(torch.mul(dm, o, out=a), tanh_c[t], grad_input=a)
            dc.add_(a)
            sigmoid_backward(torch.mul(dm, tanh_c[t], out=a), o, grad_input=o)
            torch.mul(dc, g, out=a)
            torch.mul(dc, i, out=b)
            sigmoid_backward(a, i, grad_input=i)
            tanh_backward(b, g, grad_input=g)
            torch.mul(dc, c[t], out=a)
            dc.mul_(f)
            sigmoid_backward(a, f, grad_input=f)
            if t:
                torch.addmm(dh_by_step[t - 1], gates[t], W_hh, out=dh)
"""
GRU_STEPS = """\
        sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
        tanh_backward = torch.ops.aten.tanh_backward.grad_input
        dh, H = dh_by_step[-1].clone(memory_format=torch.contiguous_format), h.shape[2]
        a, b, kept = torch.empty_like(dh), torch.empty_like(dh), torch.empty_like(dh)
        for t in reversed(range(len(gates))):
            (r, u, v), back_v = gates[t].chunk(3, 1), back[t, :, 2 * H :]
            torch.sub(h[t], v, out=a).mul_(dh)
            torch.mul(dh, u, out=kept)
            torch.sub(dh, kept, out=b)
            tanh_backward(b, v, grad_input=v)
            sigmoid_backward(a, u, grad_input=u)
            torch.mul(v, back_v, out=a)
            torch.mul(v, r, out=back_v)
            sigmoid_backward(a, r, grad_input=r)
            back[t, :, : 2 * H] = gates[t, :, : 2 * H]
            if t:
                torch.addmm(dh_by_step[t - 1], back[t], W_hh, out=dh).add_(kept)
"""
RNN_STEPS = """\
        dh, dz = dh_by_step[-1].clone(memory_format=torch.contiguous_format), torch.empty_like(h[1:])
        for t in reversed(range(len(dz))):
            if relu:
                torch.ops.aten.threshold_backward.grad_input(dh, h[t + 1], 0, grad_input=dz[t])
            else:
                torch.ops.aten.tanh_backward.grad_input(dh, h[t + 1], grad_input=dz[t])
            if t:
                torch.addmm(dh_by_step[t - 1], dz[t], W_hh, out=dh)
"""
#: The same by one kernel for all steps.
LSTM_SCAN = """\
        if W_hr is None:
            dp, (gates, dc) = None, kernels.lstm_scan(gates, c, tanh_c, dh_by_step, dc_last, W_hh)
        else:
""" + indent(LSTM_STEPS, "    ")
GRU_SCAN = """\
        gates, back, kept = kernels.gru_scan(gates, back[..., 2 * h.shape[2] :], h, dh_by_step, W_hh)
"""
RNN_SCAN = """\
        dz = kernels.rnn_scan(h, dh_by_step, W_hh, relu)
"""

LSTM = (
    '''
class LSTMLayer(torch.autograd.Function):
    """z = W_ih x + W_hh h' + b,  c = σ(z_f) c' + σ(z_i) tanh(z_g),  m = σ(z_o) tanh(c),  h = m, or p = W_hr m.

    z and p are given as zeros, and their gradients are their cotangents. The weights get none.
    """

    @staticmethod
    def forward(ctx, x, h0, c0, z, p, W_ih, W_hh, b_ih, b_hh, W_hr):
        T, N, H = x.shape[0], *c0.shape
        gates = affine_by_step(x, W_ih, b_ih, b_hh)
        h, c, tanh_c = x.new_empty(T + 1, *h0.shape), x.new_empty(T + 1, N, H), x.new_empty(T, N, H)
        m = h[1:] if W_hr is None else torch.empty_like(tanh_c)
        h[0], c[0] = h0, c0

        def activated(z):
            z[..., : 2 * H].sigmoid_()
            z[..., 2 * H : 3 * H].tanh_()
            z[..., 3 * H :].sigmoid_()
            return z.chunk(4, -1)  # i, f, g, o

        if x.is_cuda:
            weights = [w for w in (W_ih, W_hh, b_ih, b_hh, W_hr) if w is not None]
            states = h0[None].contiguous(), c0[None].contiguous()
            h[1:] = torch.lstm(x, states, weights, b_ih is not None, 1, 0.0, False, False, False)[0]
            i, f, g, o = activated(gates.add_(affine_by_step(h[:-1], W_hh)))
            for t in range(T):
                torch.mul(f[t], c[t], out=c[t + 1]).addcmul_(i[t], g[t])
            torch.tanh(c[1:], out=tanh_c)
            if W_hr is not None:
                torch.mul(o, tanh_c, out=m)
        else:
            for t in range(T):
                i, f, g, o = activated(gates[t].addmm_(h[t], W_hh.T))
                torch.mul(f, c[t], out=c[t + 1]).addcmul_(i, g)
                torch.mul(o, torch.tanh(c[t + 1], out=tanh_c[t]), out=m[t])
                if W_hr is not None:
                    torch.mm(m[t], W_hr.T, out=h[t + 1])
        before = h[:-1]
        ctx.mark_non_differentiable(before, m)
        ctx.kept = gates, c, tanh_c, W_ih, W_hh, W_hr
        return h[1:], before, c[-1], m

    @staticmethod
    def backward(ctx, dh_by_step, _, dc_last, __):
        gates, c, tanh_c, W_ih, W_hh, W_hr = ctx.kept
        del ctx.kept  # every gate is overwritten by the cotangent of its pre-activation, once it has been read
'''
    + LSTM_STEPS
    + '''\
        wanted = ctx.needs_input_grad
        dx = (gates.flatten(0, 1) @ W_ih).unflatten(0, gates.shape[:2]) if wanted[0] else None
        dh0 = gates[0] @ W_hh if wanted[1] else None
        return dx, dh0, dc, gates if wanted[3] else None, dp if wanted[4] else None, None, None, None, None, None


def lstm_layer(x, h0, c0, W_ih, W_hh, b_ih=None, b_hh=None, W_hr=None, z=None, p=None):
    """One LSTM layer in one direction, x [T, N, I] → h and h' [T, N, H], the last c, m; the first states are 0 if None.

    z and p are zeros whose gradients are asked for; without them nothing is asked of the inside of the layer.
    """
    h0 = x.new_zeros(x.shape[1], W_hh.shape[1]) if h0 is None else h0
    c0 = x.new_zeros(x.shape[1], W_hh.shape[0] // 4) if c0 is None else c0
    if z is None and p is None:
        weights = [w for w in (W_ih, W_hh, b_ih, b_hh, W_hr) if w is not None]
        states = h0[None].contiguous(), c0[None].contiguous()
        h, _, c = torch.lstm(x, states, weights, b_ih is not None, 1, 0.0, True, False, False)
        return h, None, c[0], None
    return LSTMLayer.apply(x, h0, c0, z, p, W_ih, W_hh, b_ih, b_hh, W_hr)
'''
)

GRU = (
    '''
class GRULayer(torch.autograd.Function):
    """zx = W_ih x + b_ih,  zh = W_hh h' + b_hh,  r = σ(zx_r + zh_r),  u = σ(zx_u + zh_u),  v = tanh(zx_v + r zh_v).

    h = (1 − u) v + u h'. zx and zh are given as zeros, and their gradients are their cotangents. The weights get none.
    """

    @staticmethod
    def forward(ctx, x, h0, zx, zh, W_ih, W_hh, b_ih, b_hh):
        T, N, H = x.shape[0], *h0.shape
        gates, h = affine_by_step(x, W_ih, b_ih), x.new_empty(T + 1, N, H)
        h[0] = h0

        def activated(z, back):
            z[..., : 2 * H].add_(back[..., : 2 * H]).sigmoid_()
            z[..., 2 * H :].addcmul_(z[..., :H], back[..., 2 * H :]).tanh_()
            return z.chunk(3, -1)

        if x.is_cuda:
            weights = [w for w in (W_ih, W_hh, b_ih, b_hh) if w is not None]
            h[1:] = torch.gru(x, h0[None].contiguous(), weights, b_ih is not None, 1, 0.0, False, False, False)[0]
            back = affine_by_step(h[:-1], W_hh, b_hh)
            activated(gates, back)
        else:
            back, b = torch.empty_like(gates), W_hh.new_zeros(3 * H) if b_hh is None else b_hh
            for t in range(T):
                r, u, v = activated(gates[t], torch.addmm(b, h[t], W_hh.T, out=back[t]))
                torch.lerp(v, h[t], u, out=h[t + 1])
        before = h[:-1]
        ctx.mark_non_differentiable(before)
        ctx.kept = gates, back, h, W_ih, W_hh
        return h[1:], before

    @staticmethod
    def backward(ctx, dh_by_step, _):
        gates, back, h, W_ih, W_hh = ctx.kept
        del ctx.kept  # every gate is overwritten by the cotangent of its pre-activation, once it has been read
'''
    + GRU_STEPS
    + '''\
        wanted = ctx.needs_input_grad
        dx = (gates.flatten(0, 1) @ W_ih).unflatten(0, gates.shape[:2]) if wanted[0] else None
        dh0 = kept.addmm_(back[0], W_hh) if wanted[1] else None
        return dx, dh0, gates if wanted[2] else None, back if wanted[3] else None, None, None, None, None


def gru_layer(x, h0, W_ih, W_hh, b_ih=None, b_hh=None, zx=None, zh=None):
    """One GRU layer in one direction, x [T, N, I] → h and h' [T, N, H]; the first state is 0 if None.

    zx and zh are zeros whose gradients are asked for; without them nothing is asked of the inside of the layer.
    """
    h0 = x.new_zeros(x.shape[1], W_hh.shape[1]) if h0 is None else h0
    if zx is None and zh is None:
        weights = [w for w in (W_ih, W_hh, b_ih, b_hh) if w is not None]
        return torch.gru(x, h0[None].contiguous(), weights, b_ih is not None, 1, 0.0, True, False, False)[0], None
    return GRULayer.apply(x, h0, zx, zh, W_ih, W_hh, b_ih, b_hh)
'''
)

RNN = (
    '''
class RNNLayer(torch.autograd.Function):
    """z = W_ih x + W_hh h' + b,  h = tanh(z) or relu(z). z is given as zeros; its gradient is its cotangent."""

    @staticmethod
    def forward(ctx, x, h0, z, W_ih, W_hh, b_ih, b_hh, relu):
        h = x.new_empty(x.shape[0] + 1, *h0.shape)
        h[0] = h0
        if x.is_cuda:
            weights = [w for w in (W_ih, W_hh, b_ih, b_hh) if w is not None]
            run = torch.rnn_relu if relu else torch.rnn_tanh
            h[1:] = run(x, h0[None].contiguous(), weights, b_ih is not None, 1, 0.0, False, False, False)[0]
        else:
            fed = affine_by_step(x, W_ih, b_ih, b_hh)
            for t in range(len(fed)):
                torch.addmm(fed[t], h[t], W_hh.T, out=h[t + 1])
                h[t + 1].relu_() if relu else h[t + 1].tanh_()
        before = h[:-1]
        ctx.mark_non_differentiable(before)
        ctx.kept = h, W_ih, W_hh, relu
        return h[1:], before

    @staticmethod
    def backward(ctx, dh_by_step, _):
        h, W_ih, W_hh, relu = ctx.kept
'''
    + RNN_STEPS
    + '''\
        dx = (dz.flatten(0, 1) @ W_ih).unflatten(0, dz.shape[:2]) if ctx.needs_input_grad[0] else None
        dh0 = dz[0] @ W_hh if ctx.needs_input_grad[1] else None
        return dx, dh0, dz, None, None, None, None, None


def rnn_layer(x, h0, W_ih, W_hh, b_ih=None, b_hh=None, relu=False, z=None):
    """One Elman layer in one direction, x [T, N, I] → h and h' [T, N, H]; the first state is 0 if None.

    z is zeros whose gradient is asked for; without it nothing is asked of the inside of the layer.
    """
    h0 = x.new_zeros(x.shape[1], W_hh.shape[1]) if h0 is None else h0
    if z is None:
        weights = [w for w in (W_ih, W_hh, b_ih, b_hh) if w is not None]
        run = torch.rnn_relu if relu else torch.rnn_tanh
        return run(x, h0[None].contiguous(), weights, b_ih is not None, 1, 0.0, True, False, False)[0], None
    return RNNLayer.apply(x, h0, z, W_ih, W_hh, b_ih, b_hh, relu)
'''
)

BY_STEP = '''
def affine_by_step(x, W, *biases):
    """z[t,n,g] = Σ_i x[t,n,i] W[g,i] + Σ b[g]"""
    given = [b for b in biases if b is not None]
    z = F.linear(x.reshape(-1, W.shape[1]), W, sum(given[1:], start=given[0]) if given else None)
    return z.view(*x.shape[:2], W.shape[0])
'''

RECURRENT_SOURCES = {LSTM_LAYER: LSTM, GRU_LAYER: GRU, RNN_LAYER: RNN, AFFINE_BY_STEP: BY_STEP}

#: What takes the place of the steps where kernels run.
SCANS = {LSTM_STEPS: LSTM_SCAN, GRU_STEPS: GRU_SCAN, RNN_STEPS: RNN_SCAN}
