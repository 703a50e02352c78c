"""Drivers carry out what episodes ask for: one episode blocking, or many in one event loop."""
