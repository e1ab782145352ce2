# SPDX-License-Identifier: Apache-2.0
"""How estimates become files: `publish` writes the folder that an output checker opens."""

from skyglow_server.publication.estimates_csv import write_estimates_csv
from skyglow_server.publication.folder import publish
from skyglow_server.publication.provenance import software
from skyglow_server.publication.release import Release

__all__ = ["Release", "publish", "software", "write_estimates_csv"]
