"""Stages and paths that reserve money before something is computed, and settle afterwards."""
