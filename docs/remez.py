"""Computes the polynomial coefficients of fastloss/simd/vmath.hpp (needs mpmath).

Run ``python docs/remez.py``: it prints each table as C++ hexadecimal literals with the largest error of the
approximation before rounding. The method is Remez's exchange algorithm in 60-digit arithmetic.
"""

import struct

import mpmath as mp

mp.mp.dps = 60


def remez(f, weight, lo, hi, degree, sweeps=12, grid=2000):
    """Minimise max |weight(x) (P(x) - f(x))| over [lo, hi]; return P's coefficients, lowest first, and that maximum."""
    count = degree + 2
    nodes = [(lo + hi) / 2 - (hi - lo) / 2 * mp.cos(mp.pi * i / (count - 1)) for i in range(count)]
    xs = [lo + (hi - lo) * mp.mpf(i) / grid for i in range(grid + 1)]
    for _ in range(sweeps):
        rows = [[x**j for j in range(degree + 1)] + [(-1) ** i / weight(x)] for i, x in enumerate(nodes)]
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix([f(x) for x in nodes]))
        coefficients = list(solution)[:-1]
        errors = [weight(x) * (mp.polyval(coefficients[::-1], x) - f(x)) for x in xs]
        # The new nodes are the extrema between sign changes of the error.
        extrema, best = [], 0
        for i in range(1, len(xs)):
            if errors[i] * errors[best] < 0:
                extrema.append(best)
                best = i
            elif abs(errors[i]) > abs(errors[best]):
                best = i
        extrema.append(best)
        while len(extrema) > count:
            extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
        if len(extrema) < count:
            break
        nodes = [xs[i] for i in extrema]
    return coefficients, max(abs(e) for e in errors)


def exp_tail(x):
    """(exp(x) - 1 - x) / x^2, by its series: the closed form cancels near 0."""
    return mp.fsum(x**k / mp.factorial(k + 2) for k in range(40))


def log_tail(z):
    """(log1p(f) - f + f^2/2 - s f^2/2) / (s z) with s = f / (2 + f), z = s^2: 2/3 + 2/5 z + 2/7 z^2 + ..."""
    return 2 * mp.fsum(z**k / (2 * k + 3) for k in range(50))


def show(name, coefficients, error, single):
    kind, suffix = ("f", "f") if single else ("d", "")
    values = [struct.unpack(kind, struct.pack(kind, float(c)))[0] for c in coefficients]
    print(f"// {name}: largest relative error {mp.nstr(error, 3)}")
    print("{" + ", ".join(float.hex(v) + suffix for v in values) + "}\n")


if __name__ == "__main__":
    half_ln2 = mp.log(2) / 2 * mp.mpf("1.0001")
    # s = f / (2 + f) over f in [sqrt(1/2) - 1, sqrt(2) - 1]; z = s^2.
    largest_z = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2 * mp.mpf("1.0001")
    for single in (False, True):
        bits = "float" if single else "double"
        coefficients, error = remez(
            exp_tail, lambda x: (x * x + mp.mpf("1e-4")) / mp.exp(x), -half_ln2, half_ln2, 4 if single else 9
        )
        show(f"exp, {bits}", coefficients, error, single)
        # Relative to log1p(f) ~ 2 s: the tail contributes s z R(z).
        degree = 2 if single else 6
        coefficients, error = remez(log_tail, lambda z: z / 2 + mp.mpf("1e-5"), mp.mpf(0), largest_z, degree)
        show(f"log, {bits}", coefficients, error, single)
