# SPDX-License-Identifier: Apache-2.0
"""The report on a run: one self-contained HTML file."""

from skyglow_simulations.report.data import ReportData, Sent
from skyglow_simulations.report.page import render

__all__ = ["ReportData", "Sent", "render"]
