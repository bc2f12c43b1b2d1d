"""`python -m discord_recorder` is the command line."""

from discord_recorder.cli import main

if __name__ == "__main__":
    main()
