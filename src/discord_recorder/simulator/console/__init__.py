"""A running simulator by words: people come, talk and use the bots, faults happen, each by a line of text."""
