# SPDX-License-Identifier: Apache-2.0
"""How estimates become files: `publish` writes the folder that an output checker opens."""

from skyglow_server.publication.folder import publish
from skyglow_server.publication.provenance import software
from skyglow_server.publication.release import Release
from skyglow_server.publication.tables import write_estimates_csv

__all__ = ["Release", "publish", "software", "write_estimates_csv"]
