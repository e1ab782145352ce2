# SPDX-License-Identifier: Apache-2.0
"""What trials on one machine need to know of its network."""
