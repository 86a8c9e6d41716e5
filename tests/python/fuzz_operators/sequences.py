"""Recurrent networks and attention."""

import numpy as np

from .registry import Call, maybe, operator


GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@operator("LSTM", "GRU", "RNN")
def recurrent(d):
    gates = GATES[d.operator]
    steps, batch, width, hidden = d.int(1, 6), d.int(1, 4), d.int(1, 9), d.int(1, 9)
    direction = d.pick(["forward", "reverse", "bidirectional"])
    ways = 2 if direction == "bidirectional" else 1
    inputs = [
        d.plain([steps, batch, width]),
        d.plain([ways, gates * hidden, width]),
        d.plain([ways, gates * hidden, hidden]),
        d.plain([ways, 2 * gates * hidden]) if d.chance(0.6) else None,
        d.rng.integers(1, steps + 1, batch).astype(np.int32) if d.chance(0.3) else None,
        d.plain([ways, batch, hidden]) if d.chance(0.4) else None,
    ]
    outputs = 2
    if d.operator == "LSTM":
        inputs.append(d.plain([ways, batch, hidden]) if d.chance(0.4) else None)
        inputs.append(d.plain([ways, 3 * hidden]) if d.chance(0.3) else None)
        outputs = 3
    attributes = {"hidden_size": hidden, "direction": direction} | maybe(d, 0.2, clip=d.uniform(0.5, 2))
    if d.operator == "GRU":
        attributes |= maybe(d, linear_before_reset=d.int(0, 1))
    if d.operator == "LSTM":
        attributes |= maybe(d, 0.2, input_forget=1)
    return Call(inputs, attributes, outputs, rtol=1e-3, atol=1e-3)


@operator("Attention")
def attention(d):
    batch, groups, more, size = d.int(1, 2), d.int(1, 2), d.int(1, 2), d.int(1, 8)
    rows, keys, values = d.int(1, 5), d.int(1, 5), d.int(1, 8)
    heads = groups * more
    inputs = [d.plain([batch, heads, rows, size]), d.plain([batch, groups, keys, size]), d.plain([batch, groups, keys, values])]
    if d.chance(0.5):
        mask = d.pick([[rows, keys], [batch, 1, rows, keys], [1, heads, rows, keys]])
        inputs.append(d.plain(mask) if d.chance(0.6) else d.tensor(mask, "bool") | np.eye(rows, keys, dtype=bool))
    attributes = maybe(d, 0.3, is_causal=1, scale=d.uniform(0.1, 1), softcap=d.uniform(0.5, 3))
    return Call(inputs, attributes, rtol=1e-3, atol=1e-3)


@operator("RotaryEmbedding")
def rotary(d):
    batch, heads, rows, size = d.int(1, 2), d.int(1, 3), d.int(1, 5), 2 * d.int(1, 4)
    places = d.rng.integers(0, 9, [batch, rows])
    return Call([d.plain([batch, heads, rows, size]), d.plain([9, size // 2]), d.plain([9, size // 2]), places], maybe(d, interleaved=d.int(0, 1)))
