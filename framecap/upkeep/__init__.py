"""Looking after a store: what stands where, what was forgotten, what is to be done again."""
