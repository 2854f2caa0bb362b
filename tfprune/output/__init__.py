# SPDX-License-Identifier: Apache-2.0
"""Text and files that the package writes: reports, warnings, errors, progress."""

from tfprune.output.argument_checks import check_kind, check_path
from tfprune.output.atomic_write import reserved
from tfprune.output.caller_warning import warn
from tfprune.output.report_forms import Table, as_dict, markdown, plain_text, rich_parts
