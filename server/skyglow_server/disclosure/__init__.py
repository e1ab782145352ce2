# SPDX-License-Identifier: Apache-2.0
"""What may be published: named rules on public or noised counts only, and a record of every check."""

from skyglow_server.disclosure.rules import Check, Facts, check_all, disclose

__all__ = ["Check", "Facts", "check_all", "disclose"]
