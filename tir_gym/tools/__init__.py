"""Tools that several domains offer."""
