"""What every room of the hub uses at run time, and what knows none of them: log, counters, limits of time, exit statuses."""
