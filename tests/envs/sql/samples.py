"""Databases for tests, made by hand."""

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A database by its bytes, or by the path of a file."""

    key: str
    data: bytes = b""
    path: str = ""

    def content(self):
        return self.data


SHELF = """
CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT NOT NULL, born INTEGER);
CREATE TABLE book (id INTEGER PRIMARY KEY, author_id INTEGER REFERENCES author(id), title TEXT, price REAL, sold TEXT);
CREATE INDEX book_author ON book (author_id);
CREATE VIEW cheap AS SELECT title, price FROM book WHERE price < 10;
INSERT INTO author VALUES (1, 'Ada', 1815), (2, 'Bo', NULL), (3, 'Cy', 1950);
INSERT INTO book VALUES (1, 1, 'Notes', 12.5, '2024-01-05'), (2, 1, 'Engines', 8.0, '2024-02-29'),
  (3, 2, 'Rain', 8.0, NULL), (4, NULL, 'NULL', 3.25, '2025-06-01');
"""


def sample(script=SHELF, key="shelf", many=0):
    """The database that a script makes, with `many` rows in a table `big` besides."""
    with sqlite3.connect(":memory:") as connection:
        connection.executescript(script)
        if many:
            connection.execute("CREATE TABLE big (n INTEGER PRIMARY KEY, word TEXT)")
            connection.executemany("INSERT INTO big VALUES (?, ?)", ((n, "w" * (n % 50)) for n in range(many)))
        connection.commit()
        made = Sample(key, connection.serialize())
    connection.close()
    return made


def ran(waiting):
    """What a tool returns once its requests are performed."""
    step, given = waiting.send, None
    try:
        while True:
            request = step(given)
            (given,) = request.perform_all([request])
            step = waiting.throw if isinstance(given, Exception) else waiting.send
    except StopIteration as stop:
        return stop.value
