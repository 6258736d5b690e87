"""Writes vectors.json: inputs, results and costs of each protocol, from the executable specification.

Run `PYTHONPATH=<folder of masked.py> python3 make_vectors.py > vectors.json` after a change of
the specification; numpy is all it needs. The tests of compiler/src/protocols read the file: our
protocols must give the same results and cost exactly as much.
"""

import json
import sys

import numpy as np

import masked as mk
from masked import World, ring, signed

CASES = []


def edges(bits):
    """Signed integers with |x| < 2^bits: the edges and some between."""
    top = 2**bits - 1
    values = [0, 1, -1, top, -top, top // 2 + 1, -(top // 2) - 1, top // 3]
    return np.array([max(-top, min(top, v)) for v in values], np.int64)


def add(protocol, world, inputs, result, slack=0, **fields):
    """One case. `result` is exact; ours may be up to `slack` less."""
    CASES.append(dict(
        protocol=protocol, parties=world.parties, **fields,
        inputs=[[int(v) for v in np.asarray(x).ravel()] for x in inputs],
        result=[int(v) for v in np.asarray(result).ravel()], slack=slack,
        rounds=world.cost.rounds, online_bits=world.cost.online_bits,
        correction_bits=world.cost.correction_bits))


def check(got, want, slack=0):
    got, want = np.asarray(got), np.asarray(want)
    assert ((want - slack <= got) & (got <= want)).all(), (got, want)
    return want


def shares_of(world, x, k):
    """Additive shares of a masked value."""
    m = mk.share(world, x, k)
    return [((m.delta if b == 0 else 0 * m.delta) - m.lam_sh[b]) & ring(k)
            for b in range(world.parties)]


def linear(parties, k):
    w = World(parties)
    x = edges(k - 1)
    add("share", w, [x], check(mk.share(w, x, k).reveal(), x), k=k)

    w = World(parties)
    x, y = edges(k // 2 - 2), edges(k // 2 - 2)[::-1].copy()
    z = mk.product(w, mk.share(w, x, k), mk.share(w, y, k), lambda a, b: a * b)
    add("multiply", w, [x, y], check(signed(mk.sum_ring(z, k), k), x * y), k=k)

    w = World(parties)
    x, y = edges(k // 2 - 3)[:6].reshape(2, 3), edges(k // 2 - 3)[2:8].reshape(3, 2)
    z = mk.product(w, mk.share(w, x, k), mk.share(w, y, k), lambda a, b: a @ b)
    add("matmul", w, [x, y], check(signed(mk.sum_ring(z, k), k), x @ y), k=k)

    for n, t in [(20, 8), (k - 12, 12), (24, 0), (1 + k // 2, 1)]:
        w = World(parties)
        x = edges(n + t - 2)
        u = mk.open_truncated(w, shares_of(w, x, k), k, t, n)
        want = (x + (1 << (t - 1) if t else 0)) >> t
        slack = parties - 1 if t else 0
        add("open_truncated", w, [x], check(u.reveal(), want, slack), slack, k=k, n=n, t=t)

    for n in [2, 7, 20, k - 1]:
        w = World(parties)
        x = edges(n - 2)
        y = mk.lift(w, mk.share(w, x, n), k)
        add("lift", w, [x], check(y.reveal(), x), k=k, n=n)

    w = World(parties)
    x, coef = edges(k // 4 - 1), [3, -2, 5, 0, 1]
    z = mk.powers(w, mk.share(w, x, k), 4, coef)
    want = signed(sum(np.uint64(c & (2**64 - 1)) * x.astype(np.uint64)**np.uint64(j)
                      for j, c in enumerate(coef)) & ring(k), k)
    add("powers", w, [x], check(signed(mk.sum_ring(z, k), k), want), k=k, coef=coef)


def comparisons(parties, k, block):
    for n in [2, 5, 6 * block - 1, 6 * block + 1]:
        if n > k:
            continue
        w = World(parties)
        x = edges(n - 1)
        sign = mk.negative(w, mk.share(w, x, n), block).reveal()
        add("negative", w, [x], check(sign, x < 0), n=n, block=block)
    for n in [5, 5 * block + 1, 6 * block + 1]:
        if n >= k:
            continue
        w = World(parties)
        x = edges(n - 1)
        y = mk.relu(w, mk.share(w, x, n), k, block)
        add("relu", w, [x], check(y.reveal(), np.maximum(x, 0)), k=k, n=n, block=block)
    if block == 4:
        w = World(parties)
        a, b = edges(20), np.roll(edges(20), 3)
        y = mk.maximum(w, mk.share(w, a, k), mk.share(w, b, k), 22)
        add("maximum", w, [a, b], check(y.reveal(), np.maximum(a, b)), k=k, n=22, block=block)


for parties in [2, 3]:
    for k in [32, 64]:
        linear(parties, k)
        for block in [3, 4, 5]:
            comparisons(parties, k, block)

lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in CASES)
sys.stdout.write(f"[\n{lines}\n]\n")
