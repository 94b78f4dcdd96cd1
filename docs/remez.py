"""Computes the constants of fastloss/simd/vmath.hpp and vmath_wide.hpp (needs mpmath).

Run ``python docs/remez.py``: it prints tables as C++ hexadecimal literals, polynomials with the largest error of the
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


def log1p_tail(f):
    """(log1p(f) - f) / f^2."""
    return mp.fsum((-1) ** (k + 1) * f**k / (k + 2) for k in range(60))


def rounded(x, single):
    kind = "f" if single else "d"
    return struct.unpack(kind, struct.pack(kind, float(x)))[0]


def inverse_and_log(center, single):
    """A c near 1 / center and -log(c), which is nearly a number of the dtype: then a table needs no second part of it.

    Gal and Bachelis (1991). The steps are so wide that their squares move the logarithm by fractions of its last bit.
    """
    if center == 1:
        return 1.0, 0.0

    def error(c):
        log = -mp.log(mp.mpf(c))
        return abs(log - rounded(log, single)) / mp.mpf(2) ** mp.frexp(abs(log))[1]

    step = mp.sqrt(2) * mp.mpf(2) ** (-19 if single else -33)
    c = min((rounded((1 + i * step) / center, single) for i in range(-1500, 1501)), key=error)
    return c, rounded(-mp.log(mp.mpf(c)), single)


def show(name, numbers, single):
    literals = [float.hex(rounded(x, single)) + "f" * single for x in numbers]
    print(f"// {name}\n{{{', '.join(literals)}}}\n")


def polynomials(single, bits):
    half_ln2 = mp.log(2) / 2 * mp.mpf("1.0001")
    # s = f / (2 + f) over f in [sqrt(1/2) - 1, sqrt(2) - 1]; z = s^2.
    largest_z = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2 * mp.mpf("1.0001")
    # With tables: |r| <= ln(2) / 32, |f| <= 1 / 24.
    small_r, small_f = mp.log(2) / 32 * mp.mpf("1.001"), mp.mpf(1) / 24 * mp.mpf("1.001")
    for name, f, weight, lo, hi, degree in (
        ("exp", exp_tail, lambda x: (x * x + mp.mpf("1e-4")) / mp.exp(x), -half_ln2, half_ln2, 4 if single else 9),
        # Relative to log1p(f) ~ 2 s: the tail contributes s z R(z).
        ("log", log_tail, lambda z: z / 2 + mp.mpf("1e-5"), mp.mpf(0), largest_z, 2 if single else 6),
        ("wide exp", exp_tail, lambda x: x * x + mp.mpf("1e-7"), -small_r, small_r, 1 if single else 4),
        ("wide log", log1p_tail, lambda x: abs(x) + mp.mpf("1e-5"), -small_f, small_f, 4 if single else 8),
    ):
        coefficients, error = remez(f, weight, lo, hi, degree)
        show(f"{name}, {bits}: largest relative error {mp.nstr(error, 3)}", coefficients, single)


def tables(single, bits):
    """By the low four bits of 16 x: x in [1, 2), and in [0.75, 1.5)."""
    show(f"exp2, {bits}", [mp.mpf(2) ** (mp.mpf(j) / 16) for j in range(16)], single)
    unit = [mp.mpf(16 + j) / 16 for j in range(16)]
    around_one = [mp.mpf(16 + j if j < 9 else j) / 16 for j in range(16)]
    for prefix, centers in (("unit_", unit), ("", around_one)):
        pairs = [inverse_and_log(center, single) for center in centers]
        show(f"{prefix}inverse, {bits}", [c for c, _ in pairs], single)
        show(f"{prefix}log, {bits}", [log for _, log in pairs], single)


if __name__ == "__main__":
    for single, bits in ((False, "double"), (True, "float")):
        polynomials(single, bits)
        tables(single, bits)
