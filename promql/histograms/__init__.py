"""Native histograms: their arithmetic, their functions, and how they meet windows and groups."""
