"""`python -m audiogen` is the `audiogen` command; launchers such as accelerate start it so."""

from audiogen.cli.main import main

if __name__ == "__main__":
    main()
