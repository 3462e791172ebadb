"""The seven findings of arXiv 2412.18582: one module per question, with measures, decision rule and verdict."""
