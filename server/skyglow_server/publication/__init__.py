# SPDX-License-Identifier: Apache-2.0
"""How estimates become files."""

from skyglow_server.publication.tables import write_estimates_csv

__all__ = ["write_estimates_csv"]
