# SPDX-License-Identifier: Apache-2.0
"""The area-level model against reference implementations on a public example, and on data it must refuse.

Fresh milk expenditure in 43 small areas (Arora and Lahiri 1997), as R's ``sae`` ships it. The wanted numbers are those
of samplics 0.6.0 by restricted maximum likelihood.
"""

import numpy as np
import pytest

from skyglow_server.estimation.fay_herriot import fay_herriot
from skyglow_shared.errors import DataError

MAJOR = np.repeat([1, 2, 3, 4], [7, 7, 11, 18])
DIRECT = np.array(
    [
        1.099,
        1.075,
        1.105,
        0.628,
        0.753,
        0.981,
        1.257,
        1.095,
        1.405,
        1.356,
        0.615,
        1.46,
        1.338,
        0.854,
        1.176,
        1.111,
        1.257,
        1.43,
        1.278,
        1.292,
        1.002,
        1.183,
        1.044,
        1.267,
        1.193,
        0.791,
        0.795,
        0.759,
        0.796,
        0.565,
        0.886,
        0.952,
        0.807,
        0.582,
        0.684,
        0.787,
        0.44,
        0.759,
        0.77,
        0.8,
        0.756,
        0.865,
        0.64,
    ]
)

ERROR = np.array(
    [
        0.163,
        0.08,
        0.083,
        0.109,
        0.119,
        0.141,
        0.202,
        0.127,
        0.168,
        0.178,
        0.1,
        0.201,
        0.148,
        0.143,
        0.149,
        0.145,
        0.135,
        0.172,
        0.137,
        0.163,
        0.125,
        0.247,
        0.14,
        0.171,
        0.106,
        0.121,
        0.121,
        0.259,
        0.106,
        0.089,
        0.225,
        0.205,
        0.119,
        0.067,
        0.106,
        0.126,
        0.092,
        0.132,
        0.1,
        0.113,
        0.083,
        0.121,
        0.129,
    ]
)

ESTIMATE = np.array(
    [
        1.02197054,
        1.04760195,
        1.06795143,
        0.76081657,
        0.84615704,
        0.97437271,
        1.05845267,
        1.09777626,
        1.22154549,
        1.19514601,
        0.78521492,
        1.21394621,
        1.20965972,
        0.98349644,
        1.18642471,
        1.15569811,
        1.22634125,
        1.28564899,
        1.23632484,
        1.23496014,
        1.09030163,
        1.19230572,
        1.12164677,
        1.22302972,
        1.19380544,
        0.76271959,
        0.76495515,
        0.73384439,
        0.76992955,
        0.61344162,
        0.76955607,
        0.79582531,
        0.77231885,
        0.61023007,
        0.70017819,
        0.75927881,
        0.52988634,
        0.74344668,
        0.75489963,
        0.77019197,
        0.74811642,
        0.80407752,
        0.68108689,
    ]
)

SQUARED_ERROR = np.array(
    [
        0.0134602565,
        0.0053728797,
        0.0057019947,
        0.008541752,
        0.0095796097,
        0.0116706578,
        0.0159261904,
        0.0105865359,
        0.0141840795,
        0.0149015133,
        0.00769427,
        0.0163365205,
        0.0125627533,
        0.0121174032,
        0.0120312586,
        0.0117091742,
        0.010859803,
        0.0136908997,
        0.011034698,
        0.013079722,
        0.0099486544,
        0.0172440453,
        0.0112923507,
        0.0136253365,
        0.0080657985,
        0.0092051513,
        0.0092051513,
        0.0164769844,
        0.0078006388,
        0.0060986754,
        0.0154416266,
        0.0146579217,
        0.0090247165,
        0.0038707886,
        0.0078006388,
        0.0096461595,
        0.0064043435,
        0.0101556683,
        0.007209948,
        0.0084702925,
        0.0054848651,
        0.0092051513,
        0.0099036478,
    ]
)


def milk():
    return DIRECT, ERROR**2, np.column_stack([np.ones(43), *(major == MAJOR for major in (2, 3, 4))]).astype(float)


def test_the_milk_example_is_that_of_the_reference():
    found = fay_herriot(*milk())
    assert found.variance == pytest.approx(0.018550335, abs=1e-6)
    np.testing.assert_allclose(found.coefficients, [0.96818899, 0.13278031, 0.22694622, -0.24130104], atol=1e-6)
    np.testing.assert_allclose(found.estimate, ESTIMATE, atol=1e-6)
    np.testing.assert_allclose(found.error, SQUARED_ERROR, atol=1e-6)


def test_areas_that_do_not_differ_are_put_on_the_line():
    direct, sampling, design = milk()
    line = design @ np.array([1.0, 0.1, 0.2, -0.2])
    found = fay_herriot(line + 1e-3 * (direct - direct.mean()), sampling, design)
    assert found.variance == 0
    np.testing.assert_allclose(found.estimate, design @ found.coefficients)


def test_a_certain_area_keeps_its_own_estimate():
    direct, sampling, design = milk()
    sampling = sampling.copy()
    sampling[0] = 1e-12
    assert fay_herriot(direct, sampling, design).estimate[0] == pytest.approx(direct[0], abs=1e-9)


@pytest.mark.parametrize("spoil", ["nan", "zero", "twice"])
def test_what_cannot_be_fitted_is_refused(spoil):
    direct, sampling, design = milk()
    if spoil == "nan":
        direct = np.where(np.arange(43) == 3, np.nan, direct)
    if spoil == "zero":
        sampling = np.where(np.arange(43) == 3, 0.0, sampling)
    if spoil == "twice":
        design = np.column_stack([design, design[:, 1]])
    with pytest.raises(DataError, match="direct estimates"):
        fay_herriot(direct, sampling, design)


def test_a_line_through_every_area_is_refused():
    direct, sampling, design = (values[[0, 10, 20, 40]] for values in milk())
    with pytest.raises(DataError, match="more areas"):
        fay_herriot(direct, sampling, design)
