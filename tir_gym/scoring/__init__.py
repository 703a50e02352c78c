"""Scoring: whether an answer, a text, a query result or a world equals its gold, and the metrics over them.

Nothing in here evaluates model text. `math` compares final answers of mathematical problems.
"""
