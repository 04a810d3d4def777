"""Comparing two models on the same rows: metrics, intervals, recommendation, and how it is shown.

``metric_table``, ``recommendation``, ``result`` and ``rendering`` need nothing but Python; the other
modules need numpy and scikit-learn, and are imported with the first comparison.
"""
