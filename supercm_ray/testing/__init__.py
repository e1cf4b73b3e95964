"""Contract suites: what every plug-in of a kind promises, for pytest. A test class inherits one and names its thing."""
