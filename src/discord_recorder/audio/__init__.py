"""Sound as such: PCM, MP3 frames, encoding, splicing, mixing. Knows neither Discord nor SQL."""
