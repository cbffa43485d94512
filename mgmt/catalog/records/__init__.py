"""The records: the models, the types of their columns and the words that they use."""
