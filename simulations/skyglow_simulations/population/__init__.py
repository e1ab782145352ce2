# SPDX-License-Identifier: Apache-2.0
"""From real census tables to households, people at home, half-hourly load and each supplier's raw files."""
