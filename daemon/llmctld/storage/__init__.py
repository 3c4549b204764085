"""Files and SQLite databases of the hub's state. Nothing here knows what is stored."""
