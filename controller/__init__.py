"""The cluster daemon: book, advise, schedule, act, notify."""
