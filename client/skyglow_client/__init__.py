# SPDX-License-Identifier: Apache-2.0
"""All of skyglow that runs at an energy supplier."""
