"""Answers to questions that were asked in other words: what is compared, what may never be equated, how sure is sure."""
