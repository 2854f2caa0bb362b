# SPDX-License-Identifier: Apache-2.0
"""One training run: masks chosen and applied, wrappers, callback, report, strip."""
