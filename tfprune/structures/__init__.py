# SPDX-License-Identifier: Apache-2.0
"""Structures: which weights stay or go together. One module for each family of them."""

from tfprune.structures.base import Structure
from tfprune.structures.blocks import Block
from tfprune.structures.entries import Element, NofM
from tfprune.structures.pattern import Pattern
from tfprune.structures.rows import Rows
from tfprune.structures.slices import Channel, Column, Filter, Kernel

__all__ = ["Block", "Channel", "Column", "Element", "Filter", "Kernel", "NofM", "Pattern",
           "Rows", "Structure"]
