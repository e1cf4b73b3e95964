"""Contract suites, which tests of built-in things and of plug-ins inherit. They need pytest."""
