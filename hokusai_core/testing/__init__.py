"""Public helpers for tests: the mock backend."""
