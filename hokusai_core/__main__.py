"""``python -m hokusai_core``: the command ``hokusai`` under a name that nothing else claims."""

from hokusai_core.cli import main

main()
