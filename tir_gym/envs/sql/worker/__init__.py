"""The program that runs policy SQL, in a process of its own; it imports nothing of ours but `executors.jail`."""
