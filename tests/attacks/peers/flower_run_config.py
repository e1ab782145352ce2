# SPDX-License-Identifier: Apache-2.0
"""An app is signed by somebody the site trusts; the coordinator then runs it with other settings than were signed."""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flower_app import bundle, run
from flwr.common.config import get_fused_config_from_fab
from flwr.supercore.fab import Fab
from flwr.supercore.primitives.asymmetric_ed25519 import create_message_to_sign, sign_message
from flwr.supernode.start_client_internal import _verify_fab

content = bundle()
digest = hashlib.sha256(content).hexdigest()
reviewer = Ed25519PrivateKey.generate()
trusted = {"reviewer": reviewer.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()}
signature = sign_message(reviewer, create_message_to_sign(bytes.fromhex(digest), 1))
record = {"signed_at": 1, "signature": base64.urlsafe_b64encode(signature).decode()}
fab = Fab(digest, content, {"valid_license": "yes", "reviewer": json.dumps(record)})
overrides = {"epsilon": 1000.0, "clip": 1e9, "columns": "everything"}
accepted = _verify_fab(fab, trusted)  # what a SuperNode with --trusted-entities checks
approved = get_fused_config_from_fab(fab.content, run(digest, {}))
used = get_fused_config_from_fab(fab.content, run(digest, overrides))  # what it then hands to the app
succeeded = accepted and used == overrides and approved == {"epsilon": 0.5, "clip": 1.0, "columns": "age"}
print(json.dumps({"succeeded": succeeded, "approved": approved, "used": used}))
