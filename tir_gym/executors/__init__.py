"""Where untrusted code runs: jailed interpreters behind one small interface."""
