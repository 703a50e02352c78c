"""The invented world: who and what there is (`graph`), what it is called (`names`), what is written of it (`prose`)."""
