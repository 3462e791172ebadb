"""The page of a study: generated blocks and figures, and the text around them, which is kept."""
