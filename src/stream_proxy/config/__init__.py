"""Settings: one schema, declared once; loading, checking and documenting are apart."""
