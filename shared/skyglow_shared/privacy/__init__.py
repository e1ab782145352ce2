# SPDX-License-Identifier: Apache-2.0
"""Events and their accounting, integer noise, clipping: the mathematics of what may leave."""
