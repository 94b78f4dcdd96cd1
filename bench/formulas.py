"""The losses in NumPy."""

from __future__ import annotations

from functools import partial

import numpy as np

from bench.libraries import Peer


class NumPy(Peer):
    """The formulas as a competent user writes them: stable, nothing computed twice, in place where it helps."""

    threaded = False

    def call(self, method, loss, y, z, threads):
        buffers = {"value": 0, "value_and_grad": 1, "grad_and_hess": 2}[method]
        return partial(getattr(self, method), loss, y, z, *(np.empty_like(z) for _ in range(buffers)))

    def normal(self, method, result):
        return (result,) if method == "value" else result


class SquaredErrorNumPy(NumPy):
    def value(self, loss, y, z):
        return np.mean((z - y) ** 2)

    def value_and_grad(self, loss, y, z, g):
        np.subtract(z, y, out=g)
        value = np.mean(g * g)
        g *= 2 / len(g)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        np.subtract(z, y, out=g)
        g *= 2
        h.fill(2)
        return g, h


class AbsoluteErrorNumPy(NumPy):
    def value(self, loss, y, z):
        return np.mean(np.abs(z - y))

    def value_and_grad(self, loss, y, z, g):
        np.subtract(z, y, out=g)
        value = np.mean(np.abs(g))
        np.sign(g, out=g)
        g /= len(g)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        np.subtract(z, y, out=g)
        np.sign(g, out=g)
        h.fill(0)
        return g, h


class HuberNumPy(NumPy):
    # With g, the residual r clipped to [-delta, delta], the loss is g (r - g / 2) on both sides.
    def value(self, loss, y, z):
        r = z - y
        g = np.clip(r, -loss.delta, loss.delta)
        return np.mean(g * (r - 0.5 * g))

    def value_and_grad(self, loss, y, z, g):
        r = z - y
        np.clip(r, -loss.delta, loss.delta, out=g)
        value = np.mean(g * (r - 0.5 * g))
        g /= len(g)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        r = z - y
        np.clip(r, -loss.delta, loss.delta, out=g)
        np.less_equal(np.abs(r), loss.delta, out=h, casting="unsafe")
        return g, h


class QuantileNumPy(NumPy):
    def value(self, loss, y, z):
        u = y - z
        return np.mean(np.maximum(loss.q * u, (loss.q - 1) * u))

    def value_and_grad(self, loss, y, z, g):
        u = y - z
        value = np.mean(np.maximum(loss.q * u, (loss.q - 1) * u))
        # Where u is 0 this is another subgradient than ours; random inputs do not go there.
        np.less(u, 0, out=g, casting="unsafe")
        g -= loss.q
        g /= len(g)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        np.less(y, z, out=g, casting="unsafe")
        g -= loss.q
        h.fill(0)
        return g, h


class LogitsNumPy(NumPy):
    def value(self, loss, y, z):
        return np.mean(np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - y * z)

    def value_and_grad(self, loss, y, z, g):
        e = np.exp(-np.abs(z))  # never overflows, and serves both
        value = np.mean(np.log1p(e) + np.maximum(z, 0) - y * z)
        np.divide(np.where(z >= 0, 1, e), 1 + e, out=g)
        g -= y
        g /= len(g)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        e = np.exp(-np.abs(z))
        denominator = 1 + e
        np.divide(np.where(z >= 0, 1, e), denominator, out=g)
        g -= y
        np.divide(e, denominator * denominator, out=h)
        return g, h


class ProbabilitiesNumPy(NumPy):
    def clip(self, loss, p):
        # 1 - 1e-15 is 1 in float32, where log(1 - p) would be infinite.
        self.low, self.high = loss.eps, min(1 - loss.eps, np.nextafter(p.dtype.type(1), p.dtype.type(0)))
        return np.clip(p, self.low, self.high)

    def value(self, loss, y, p):
        p = self.clip(loss, p)
        return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

    def value_and_grad(self, loss, y, p, g):
        c = self.clip(loss, p)
        value = -np.mean(y * np.log(c) + (1 - y) * np.log(1 - c))
        np.divide(c - y, c * (1 - c) * len(g), out=g)
        g[(p < self.low) | (p > self.high)] = 0  # outside the clip the value does not change
        return value, g

    def grad_and_hess(self, loss, y, p, g, h):
        c = self.clip(loss, p)
        q = 1 - c
        np.divide(c - y, c * q, out=g)
        np.add(y / (c * c), (1 - y) / (q * q), out=h)
        outside = (p < self.low) | (p > self.high)
        g[outside] = 0
        h[outside] = 0
        return g, h


class PoissonNumPy(NumPy):
    def value(self, loss, y, z):
        return np.mean(np.exp(z) - y * z)

    def value_and_grad(self, loss, y, z, g):
        np.exp(z, out=g)
        value = np.mean(g - y * z)
        g -= y
        g /= len(g)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        np.exp(z, out=h)
        np.subtract(h, y, out=g)
        return g, h


class SoftmaxNumPy(NumPy):
    # Shifted by the largest logit of its row, no exponential overflows; one of each logit serves value and gradient.
    def value(self, loss, y, z):
        e = z - z.max(axis=1, keepdims=True)
        right = e[np.arange(len(y)), y]
        np.exp(e, out=e)
        return np.mean(np.log(e.sum(axis=1)) - right)

    def value_and_grad(self, loss, y, z, g):
        label = np.arange(len(y)), y
        np.subtract(z, z.max(axis=1, keepdims=True), out=g)
        right = g[label]
        np.exp(g, out=g)
        total = g.sum(axis=1, keepdims=True)
        value = np.mean(np.log(total[:, 0]) - right)
        g /= total * len(y)
        g[label] -= 1 / len(y)
        return value, g

    def grad_and_hess(self, loss, y, z, g, h):
        np.subtract(z, z.max(axis=1, keepdims=True), out=g)
        np.exp(g, out=g)
        g /= g.sum(axis=1, keepdims=True)
        np.subtract(1, g, out=h)
        h *= g
        g[np.arange(len(y)), y] -= 1
        return g, h
