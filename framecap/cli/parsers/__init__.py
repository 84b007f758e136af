"""The parsers of the commands, by what they are for: each module adds its own. Nothing here imports anything heavy."""
