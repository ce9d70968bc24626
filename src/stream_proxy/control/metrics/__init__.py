"""What Prometheus reads: one table of metric families, read from plain integers when it asks."""
