"""Finding the tools for a request among thousands of descriptions."""
