"""Ray: the only room that imports it. Its modules `executors` and `schedulers` register names without importing Ray."""
