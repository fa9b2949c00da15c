"""`python -m cyray.cli`: the same as `cyray`."""

from cyray.cli import main

main()
