# SPDX-License-Identifier: Apache-2.0
"""Records and sentences of the reports."""
