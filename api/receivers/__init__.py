"""What others push: remote write, OTLP, and the formats of other systems."""
