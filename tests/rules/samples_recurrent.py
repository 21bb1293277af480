"""Samples of recurrent layers, one in one direction."""

from sampling import of, real

from clipcompiler.dsl import layers

lstm, gru, rnn = layers.lstm_layer.default, layers.gru_layer.default, layers.rnn_layer.default

SAMPLES = [
    of(lstm, real(5, 4, 3), real(4, 2), real(4, 2), real(8, 3), real(8, 2), real(8), real(8)),
    of(lstm, real(5, 4, 3), None, None, real(8, 3), real(8, 2)),
    of(lstm, real(1, 4, 3), None, real(4, 2), real(8, 3), real(8, 2), real(8), real(8)),
    of(lstm, real(6, 4, 3), real(4, 2), real(4, 5), real(20, 3), real(20, 2), real(20), real(20), real(2, 5)),
    of(lstm, real(6, 4, 3), None, None, real(20, 3), real(20, 2), None, None, real(2, 5)),
    of(lstm, real(2, 4, 9), None, None, real(32, 9), real(32, 8), real(32), real(32)),
    of(lstm, real(1, 4, 1), real(4, 1), real(4, 1), real(4, 1), real(4, 1), real(4), real(4)),
    of(gru, real(5, 4, 3), real(4, 2), real(6, 3), real(6, 2), real(6), real(6)),
    of(gru, real(5, 4, 3), None, real(6, 3), real(6, 2)),
    of(gru, real(1, 4, 3), None, real(6, 3), real(6, 2), real(6), real(6)),
    of(gru, real(2, 4, 9), real(4, 8), real(24, 9), real(24, 8), real(24), real(24)),
    of(rnn, real(5, 4, 3), real(4, 2), real(2, 3), real(2, 2), real(2), real(2)),
    of(rnn, real(5, 4, 3), None, real(2, 3), real(2, 2), relu=True),
    of(rnn, real(1, 4, 3), real(4, 2), real(2, 3), real(2, 2), real(2), real(2), relu=True),
    of(rnn, real(2, 4, 9), None, real(8, 9), real(8, 8), real(8), real(8)),
]
