# SPDX-License-Identifier: Apache-2.0
"""The contract between suppliers and the office: what both sides must agree on, byte for byte."""
