"""The words and contracts of the suite; imports nothing else of ours."""
