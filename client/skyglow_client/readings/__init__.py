# SPDX-License-Identifier: Apache-2.0
"""From a supplier's files to a cleaned, pseudonymised wide store."""

from skyglow_client.readings.ingest import ingest
from skyglow_client.readings.panel import Panel, load_panel
from skyglow_client.readings.report import IngestReport
from skyglow_client.readings.store import Store

__all__ = ["IngestReport", "Panel", "Store", "ingest", "load_panel"]
