"""`python -m audiogen` is the `audiogen` command; launchers such as accelerate start it so."""

from audiogen.cli import main

if __name__ == "__main__":
    main()
