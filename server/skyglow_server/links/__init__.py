# SPDX-License-Identifier: Apache-2.0
"""How the coordinator reaches suppliers: one module a transport."""
