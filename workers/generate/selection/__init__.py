"""Selection of samples: their answers, whether they are correct, and which are kept as records of the dataset."""
