"""`python -m actors.memory list|search|export|forget`: what `supervisor memory` runs."""

from actors.memory.cli import main

main(prog_name="supervisor memory")
