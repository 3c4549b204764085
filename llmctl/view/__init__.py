"""Pure functions from data to text. They read nothing, write nothing, and know no command."""
