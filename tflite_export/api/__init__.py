# SPDX-License-Identifier: Apache-2.0
"""The public functions and their reports' makers."""
