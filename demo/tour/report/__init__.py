"""Results of a tour: tables, printed output, the picture, and the verdicts."""
