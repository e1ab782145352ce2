# SPDX-License-Identifier: Apache-2.0
"""How requests reach a supplier: one module a transport."""
