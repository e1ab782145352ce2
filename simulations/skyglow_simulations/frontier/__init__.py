# SPDX-License-Identifier: Apache-2.0
"""Utility against privacy: one study at many levels of epsilon and trust modes, over many simulated cities."""
