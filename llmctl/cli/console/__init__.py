"""What every command shares: the two streams, signals, stdin, common flags, tables. No command is known here."""
