"""Export: a recording's files for people, under readable names, in the formats they ask for."""
