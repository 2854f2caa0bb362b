# SPDX-License-Identifier: Apache-2.0
"""Models that really shrink: which channels belong together, and how to take them out."""
