"""The study behind ``docs/findings.md``: its specs, its tables, and the page with the results."""
