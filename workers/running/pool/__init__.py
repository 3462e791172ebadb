"""Processes of ``python -m workers``: supervisor, RQ workers, work horses and their monitor."""
