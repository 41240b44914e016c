"""The `audiogen` command, one file per group of commands."""
