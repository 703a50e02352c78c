"""Multi-hop questions answered by searching an encyclopaedia of an invented world, or the passages of a benchmark."""
