"""The seven findings of arXiv 2412.18582: measures, decision rules and verdicts."""
