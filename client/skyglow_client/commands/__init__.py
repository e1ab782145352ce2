# SPDX-License-Identifier: Apache-2.0
"""The verbs of ``skyglow supplier``: one module a noun."""
