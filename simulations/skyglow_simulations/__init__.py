# SPDX-License-Identifier: Apache-2.0
"""Simulated homes, suppliers and whole studies on one machine."""
