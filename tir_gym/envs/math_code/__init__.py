"""Mathematics with a Python interpreter."""
