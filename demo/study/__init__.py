"""The study behind ``docs/findings.md``: what is tuned, how it is asked of a service, and the page that tells what came out."""
