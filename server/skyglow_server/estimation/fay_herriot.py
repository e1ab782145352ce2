# SPDX-License-Identifier: Apache-2.0
"""The plain area-level model of Fay and Herriot (1979): the textbook estimator that ours is compared with.

    y_i = x_iᵀ β + v_i + e_i,   v_i ~ N(0, A),   e_i ~ N(0, ψ_i), ψ_i known

A by restricted maximum likelihood, β by weighted least squares, each area's estimate shrunk to the regression by
γ = A / (A + ψ); mean squared errors after Prasad and Rao (1990) and Datta and Lahiri (2000), g1 + g2 + 2 g3. Numbers
agree with Python's ``samplics`` on the milk expenditure data.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyglow_shared.errors import DataError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fitted:
    """An area-level model fitted.

    Attributes
    ----------
    estimate, error : ndarray, shape (n,)
        EBLUP of every area and its mean squared error.
    coefficients : ndarray, shape (p,)
    variance : float
        A, between areas; zero where the data show none beyond their sampling errors.
    """

    estimate: Array
    error: Array
    coefficients: Array
    variance: float


def fay_herriot(direct: Array, sampling: Array, design: Array) -> Fitted:
    """Fit the model.

    Parameters
    ----------
    direct : ndarray, shape (n,)
        Direct estimates.
    sampling : ndarray, shape (n,)
        ψ: their variances, all positive.
    design : ndarray, shape (n, p)
        Covariates; put a column of ones in for an intercept.

    Raises
    ------
    DataError
        A number is missing, a variance is not positive, covariates repeat each other, or areas are as few as they.
    """
    finite = all(np.isfinite(part).all() for part in (direct, sampling, design))
    if not finite or not (sampling > 0).all() or np.linalg.matrix_rank(design) < design.shape[1]:
        raise DataError("direct estimates need known positive variances and covariates that do not repeat each other")
    if len(direct) <= design.shape[1]:
        raise DataError("there are as few areas as covariates, which leaves nothing to fit on; give more areas")
    variance = _restricted(direct, sampling, design)
    total = variance + sampling
    inverse = np.linalg.inv(design.T @ (design / total[:, None]))
    coefficients = inverse @ (design.T @ (direct / total))
    gamma = variance / total
    fitted = design @ coefficients
    g1 = gamma * sampling
    g2 = (1 - gamma) ** 2 * np.einsum("ip,pq,iq->i", design, inverse, design)
    g3 = sampling**2 / total**3 * (2 / np.sum(total**-2.0))
    return Fitted(fitted + gamma * (direct - fitted), g1 + g2 + 2 * g3, coefficients, variance)


def _restricted(direct: Array, sampling: Array, design: Array) -> float:
    """A that maximises the restricted likelihood: the best of a grid, then Fisher scoring to machine precision."""

    def score(variance: float) -> tuple[float, float, float]:
        total = variance + sampling
        weighted = design / total[:, None]
        inverse = np.linalg.inv(design.T @ weighted)
        residual = direct - design @ (inverse @ (weighted.T @ direct))
        projected = np.diag(1 / total) - weighted @ inverse @ weighted.T
        gained = residual / total
        loss = np.log(total).sum() - np.linalg.slogdet(inverse)[1] + residual @ gained
        return float(loss), float(gained @ gained - np.trace(projected)), float(np.sum(projected**2))

    top = 10 * float(np.var(direct)) + float(sampling.max())
    variance = float(min([0.0, *np.geomspace(top * 1e-6, top, 60)], key=lambda tried: score(tried)[0]))
    for _ in range(100):
        _, slope, information = score(variance)
        step = slope / information
        variance = max(variance + step, 0.0)
        if abs(step) <= 1e-14 * top:
            break
    return variance
