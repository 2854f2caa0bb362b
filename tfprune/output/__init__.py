# SPDX-License-Identifier: Apache-2.0
"""The text and the files that the package writes: reports, warnings, errors, progress."""
