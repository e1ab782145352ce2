# SPDX-License-Identifier: Apache-2.0
"""Where products are computed: on the processor, or on a device that torch finds."""

import torch

from skyglow_shared.errors import RunError


def device_named(name: str) -> torch.device:
    """The device of a name such as ``cpu``, ``cuda`` or ``cuda:1``; RunError if torch finds none of that name here."""
    try:
        return torch.empty(0, device=torch.device(name)).device
    except (RuntimeError, AssertionError, NotImplementedError):  # of an unknown word, of a build without, of a driver
        raise RunError(
            f"torch finds no device {name!r} on this machine; use cpu, or install the torch that is made for the device"
        ) from None
