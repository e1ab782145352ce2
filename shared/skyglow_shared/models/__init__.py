# SPDX-License-Identifier: Apache-2.0
"""Models both sides must agree on, with the contracts of what goes into them."""
