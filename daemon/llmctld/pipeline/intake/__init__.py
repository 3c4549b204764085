"""Before anything is looked up: the row in the history, the time limit, the checks, the messages."""
