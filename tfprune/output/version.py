# SPDX-License-Identifier: Apache-2.0
"""The version of this package, which files that it writes carry."""

VERSION = "0.1.0"
