"""A classifier of real sounds, and the judge that travels with a model."""
