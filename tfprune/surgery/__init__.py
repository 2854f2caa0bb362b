# SPDX-License-Identifier: Apache-2.0
"""Smaller models: channels removed, constants folded, budgets met."""
