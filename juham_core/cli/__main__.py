"""``python -m juham_core.cli`` is ``juham``, for where scripts are not on the path."""

from __future__ import annotations

import sys

from juham_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
