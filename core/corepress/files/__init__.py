"""Write files and packages so that a reader sees the old one or the new one, whole."""

from corepress.files.output import check_output, is_package, overlap, reason_of
from corepress.files.replacement import replacing, write_text
from corepress.files.workspace import sweep

__all__ = ["check_output", "is_package", "overlap", "reason_of", "replacing", "sweep", "write_text"]
