# SPDX-License-Identifier: Apache-2.0
"""The measured quantities that scores are computed from."""
