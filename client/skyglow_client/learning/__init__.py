# SPDX-License-Identifier: Apache-2.0
"""From homes to per-household vectors: gradients, scores, labels, profiles."""
