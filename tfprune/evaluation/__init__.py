# SPDX-License-Identifier: Apache-2.0
"""What was lost: networks compared beyond their accuracy. Nothing else imports from this room."""
