"""The words: label sets, samples, log positions and batches, scope, durations. Knows nothing else of kobs."""
