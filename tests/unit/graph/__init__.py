"""Graphs: checked, printed, run, rewritten."""
