"""One module per measure; each registers a function with :func:`benchmarks.harness.measure`."""
