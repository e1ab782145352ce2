# SPDX-License-Identifier: Apache-2.0
"""Secure aggregation: the office learns a sum of suppliers' vectors and nothing else of any of them.

After Bonawitz et al. 2017, on the full graph, for a few suppliers that know one another's keys. `sharing`, then
`supplier`, and `office` are the two sides of one attempt, as pure steps; `rounds` is a supplier's side of one round
over its attempts.
"""
