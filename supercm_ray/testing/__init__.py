"""Contract suites that the tests of a plug-in inherit. They need pytest, which the package itself does not."""
