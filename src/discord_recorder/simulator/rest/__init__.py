"""Discord's REST API v10, as far as bots of this kind use it: one file for each part, `api` under all of them."""
