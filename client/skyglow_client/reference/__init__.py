# SPDX-License-Identifier: Apache-2.0
"""Linking a supplier's homes to public reference data."""

from skyglow_client.reference.postcodes import load_postcodes

__all__ = ["load_postcodes"]
