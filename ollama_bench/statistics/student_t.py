"""Student's t distribution, by SciPy, which is loaded when a value is asked for."""

from __future__ import annotations

import importlib
import math


def load_scipy() -> None:
    """Load SciPy: 0.3 s, better spent where nobody waits for the first value."""
    importlib.import_module("scipy.special")


def t_quantile(p: float, freedom: float) -> float:
    """Return the t that Student's distribution is below with probability p, from 0 to 1.

    Endless degrees of freedom (math.inf) make it the normal distribution.
    """
    from scipy import special

    if math.isinf(freedom):
        return float(special.ndtri(p))
    return float(special.stdtrit(freedom, p))


def t_probability(t: float, freedom: float) -> float:
    """Return how probable a value below t is."""
    from scipy import special

    if math.isinf(freedom):
        return float(special.ndtr(t))
    return float(special.stdtr(freedom, t))
