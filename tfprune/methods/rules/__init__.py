# SPDX-License-Identifier: Apache-2.0
"""Rules other than the ranking of scores: statistics to masks."""
