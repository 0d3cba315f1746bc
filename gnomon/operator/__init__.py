"""prometheus-operator's objects (ServiceMonitor and its kin) read as scrape jobs, no operator."""
