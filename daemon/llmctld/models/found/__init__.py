"""Files of other programs: what they contain, before they are added."""
