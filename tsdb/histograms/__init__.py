"""Native histograms in storage: columns of the head, of the log's records, of blocks' pages."""
