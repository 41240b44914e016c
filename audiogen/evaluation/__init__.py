"""How good a run is: features, metrics, a classifier, and the report page."""
