"""The curation page: takes are heard, compared, kept or rejected."""
