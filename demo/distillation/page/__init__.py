"""The page of the distillation experiment: tables, verdicts and pictures, from its record."""
