# SPDX-License-Identifier: Apache-2.0
"""British National Grid to longitude and latitude.

Grid to ellipsoid: Ordnance Survey, *A guide to coordinate systems in Great Britain*, annexe C; OSGB36 to WGS84: the
seven-parameter transformation of its section 6.6, good to about 5 m, less than a generalised boundary is off.
"""

from math import atan2, cos, degrees, hypot, radians, sin, sqrt, tan

_AIRY, _WGS84 = (6377563.396, 6356256.909), (6378137.0, 6356752.314245)
_SCALE, _ORIGIN, _FALSE = 0.9996012717, (radians(49), radians(-2)), (400_000.0, -100_000.0)
_SHIFT, _TURN, _STRETCH = (446.448, -125.157, 542.060), (0.1502, 0.2470, 0.8421), -20.4894e-6


def longitude_latitude(easting: float, northing: float) -> tuple[float, float]:
    """WGS84 longitude and latitude in degrees of a place on the British National Grid, in metres."""
    latitude, longitude = grid_to_airy(easting, northing)
    return _from_cartesian(*_shifted(*_cartesian(latitude, longitude)))


def grid_to_airy(easting: float, northing: float) -> tuple[float, float]:
    """Latitude and longitude on the Airy ellipsoid (OSGB36), in radians."""
    a, b = _AIRY
    e2, n = 1 - (b / a) ** 2, (a - b) / (a + b)
    north = northing - _FALSE[1]
    latitude = _ORIGIN[0] + north / (a * _SCALE)
    while abs(rest := north - _meridian(latitude, n, b)) >= 1e-5:
        latitude += rest / (a * _SCALE)
    nu = a * _SCALE / sqrt(1 - e2 * sin(latitude) ** 2)
    rho = a * _SCALE * (1 - e2) * (1 - e2 * sin(latitude) ** 2) ** -1.5
    eta2, t = nu / rho - 1, tan(latitude)
    x, secant = (easting - _FALSE[0]) / nu, 1 / cos(latitude)
    across = (
        1 / 2,
        (5 + 3 * t**2 + eta2 - 9 * t**2 * eta2) / 24,
        (61 + 90 * t**2 + 45 * t**4) / 720,
    )
    along = (
        1.0,
        (nu / rho + 2 * t**2) / 6,
        (5 + 28 * t**2 + 24 * t**4) / 120,
        (61 + 662 * t**2 + 1320 * t**4 + 720 * t**6) / 5040,
    )
    south = t * nu / rho * sum(term * (-1) ** k * x ** (2 * k + 2) for k, term in enumerate(across))
    east = secant * sum(term * (-1) ** k * x ** (2 * k + 1) for k, term in enumerate(along))
    return latitude - south, _ORIGIN[1] + east


def _meridian(latitude: float, n: float, b: float) -> float:
    less, more = latitude - _ORIGIN[0], latitude + _ORIGIN[0]
    return (
        b
        * _SCALE
        * (
            (1 + n + 1.25 * n**2 + 1.25 * n**3) * less
            - (3 * n + 3 * n**2 + 2.625 * n**3) * sin(less) * cos(more)
            + (1.875 * n**2 + 1.875 * n**3) * sin(2 * less) * cos(2 * more)
            - 35 / 24 * n**3 * sin(3 * less) * cos(3 * more)
        )
    )


def _cartesian(latitude: float, longitude: float) -> tuple[float, float, float]:
    a, b = _AIRY
    nu = a / sqrt(1 - (1 - (b / a) ** 2) * sin(latitude) ** 2)
    return nu * cos(latitude) * cos(longitude), nu * cos(latitude) * sin(longitude), (b / a) ** 2 * nu * sin(latitude)


def _shifted(x: float, y: float, z: float) -> tuple[float, float, float]:
    rx, ry, rz = (radians(second / 3600) for second in _TURN)
    stretch = 1 + _STRETCH
    return (
        _SHIFT[0] + stretch * x - rz * y + ry * z,
        _SHIFT[1] + rz * x + stretch * y - rx * z,
        _SHIFT[2] - ry * x + rx * y + stretch * z,
    )


def _from_cartesian(x: float, y: float, z: float) -> tuple[float, float]:
    a, b = _WGS84
    e2, flat = 1 - (b / a) ** 2, hypot(x, y)
    latitude = atan2(z, flat * (1 - e2))
    for _ in range(5):
        nu = a / sqrt(1 - e2 * sin(latitude) ** 2)
        latitude = atan2(z + e2 * nu * sin(latitude), flat)
    return degrees(atan2(y, x)), degrees(latitude)
