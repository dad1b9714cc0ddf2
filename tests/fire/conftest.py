"""What is shared with benchmarks/reliability.py lies here, and toy runs in tests/runs."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "runs")]
