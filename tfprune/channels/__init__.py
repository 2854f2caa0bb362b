# SPDX-License-Identifier: Apache-2.0
"""Groups of channels that can only leave together, and what each of them costs."""
