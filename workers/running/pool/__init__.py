"""The processes of ``python -m workers``: supervisor, RQ workers, work horses, and their monitoring."""
