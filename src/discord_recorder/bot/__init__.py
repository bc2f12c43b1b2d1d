"""The Discord bot: commands, panel, all texts that people read. Nothing is here yet."""
