"""Handlers of requests: a file for each group of messages, and `table.py`, which says who handles which message.

A handler calls the room that has the answer and turns what it returns into a result; it decides nothing itself.
"""
