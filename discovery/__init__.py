"""The outside world to target groups. Knows nothing of scraping."""
