"""``python -m fastloss``: the command line."""

from fastloss.cli import main

raise SystemExit(main())
