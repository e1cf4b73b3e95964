"""Contract suites that a plug-in's author can inherit to test an algorithm, a tracker and the like."""
