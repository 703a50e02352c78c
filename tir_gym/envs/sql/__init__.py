"""Questions about a database, answered with a query that is judged by what it returns."""
