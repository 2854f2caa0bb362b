# SPDX-License-Identifier: Apache-2.0
"""Structures: which weights stay or go together. One module for each family of them."""

from tfprune.masks.structures.base import Structure
from tfprune.masks.structures.entries import Block, Element, NofM
from tfprune.masks.structures.pattern import Pattern
from tfprune.masks.structures.slices import Channel, Column, Filter, Kernel, Rows
