"""``python -m clipcompiler``: the command line."""

import sys

from clipcompiler.cli import main

sys.exit(main())
