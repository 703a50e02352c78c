def observe(session, hello): return {}
