"""Everything that uses Ray, apart from the modules `executors` and `schedulers`, which register names without importing
it.
"""
