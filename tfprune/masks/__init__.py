# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of pruning, from scores to counts to masks, without a Keras."""
