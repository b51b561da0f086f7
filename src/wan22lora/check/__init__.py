"""What can be said of a dataset before it trains: remarks, advice and a forecast."""
