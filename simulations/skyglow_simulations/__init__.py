# SPDX-License-Identifier: Apache-2.0
"""Simulated homes, suppliers and whole studies on one machine."""

import os

# Matrices here are small and suppliers run side by side: threads of linear algebra cost more than they give, and on a
# busy machine a hundredfold. It must be said before NumPy is loaded; whoever has said otherwise is heeded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
