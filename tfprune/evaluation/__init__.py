# SPDX-License-Identifier: Apache-2.0
"""Comparisons of networks beyond their accuracy. Nothing else imports from this room."""
