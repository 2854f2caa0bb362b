# SPDX-License-Identifier: Apache-2.0
"""A Keras model -> a dense .tflite file."""
