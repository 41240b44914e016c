"""Several processes: launch, sharding and signals."""
