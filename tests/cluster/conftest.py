"""What the trials under fire have, the trials of a cluster use: the witness's record, accounts, tables."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
