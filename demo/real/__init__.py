"""Real datasets from a folder of the user: DeepMind's arithmetic, SQuAD, WikiText-2 and GSM8K, with seeded, held-out splits."""
