# SPDX-License-Identifier: Apache-2.0
"""The only door out of a supplier: policy, ledger, and the gate that checks, charges, computes and seals."""
