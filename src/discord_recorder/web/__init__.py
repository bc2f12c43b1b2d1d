"""The web page: player, downloads, access. Nothing is here yet."""
