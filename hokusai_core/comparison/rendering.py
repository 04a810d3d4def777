"""A comparison as text and as HTML."""

from collections.abc import Mapping
from html import escape
from typing import Any

from hokusai_core import validation
from hokusai_core.comparison.metric_table import METRICS
from hokusai_core.errors import InvalidInputError

_TITLE = "Model Comparison Report"
_UNDEFINED = "undefined"
_NEEDED = ("baseline_metrics", "candidate_metrics", "improvements", "recommendation")


def text_report(comparison: Mapping[str, Any]) -> str:
    """Give a comparison as a plain text of several lines.

    Args:
        comparison: What ``compare_models`` returned, or an older result with the same keys.

    Raises:
        InvalidInputError: It lacks a key that the report needs.
    """
    rows = [_heads(comparison), *_rows(comparison)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    about = [f"{name:<10}{value}" for name, value in _about(comparison)]
    remarks = _remarks(comparison)
    parts = [[_TITLE, "=" * len(_TITLE)], about, table, remarks]
    parts.append([f"Recommendation: {comparison['recommendation']}"])
    return "\n\n".join("\n".join(part) for part in parts if part)


def html_report(comparison: Mapping[str, Any]) -> str:
    """Give a comparison as HTML for a notebook."""
    heads = "".join(f"<th>{escape(head)}</th>" for head in _heads(comparison))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _rows(comparison)
    )
    about = "".join(
        f"<div>{escape(name)}: <code>{escape(value)}</code></div>"
        for name, value in _about(comparison)
    )
    remarks = "".join(
        f"<div><small>{escape(remark)}</small></div>" for remark in _remarks(comparison)
    )
    return (
        f"<div>{about}<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>{remarks}"
        f"<div>Recommendation: <strong>{escape(str(comparison['recommendation']))}</strong></div></div>"
    )


def _heads(comparison: Mapping[str, Any]) -> tuple[str, ...]:
    given = validation.mapping(comparison, "comparison")
    for key in _NEEDED:
        if key not in given:
            raise InvalidInputError(
                f"The comparison has no {key!r}: pass what compare_models returned."
            )
    heads = ("metric", "baseline", "candidate", "improvement")
    if not comparison.get("intervals"):
        return heads
    return (*heads, f"{100 * comparison['confidence']:g} % interval")


def _rows(comparison: Mapping[str, Any]) -> list[tuple[str, ...]]:
    baseline, candidate = comparison["baseline_metrics"], comparison["candidate_metrics"]
    improvements, intervals = comparison["improvements"], comparison.get("intervals") or {}
    names = dict.fromkeys((*improvements, *baseline, *candidate, *comparison.get("undefined", {})))
    rows = []
    for name in names:
        row = [_label(name), _number(baseline.get(name)), _number(candidate.get(name))]
        row.append(_signed(improvements[name]) if name in improvements else _UNDEFINED)
        if intervals:
            ends = intervals.get(name)
            row.append(f"{_signed(ends['low'])} to {_signed(ends['high'])}" if ends else "-")
        rows.append(tuple(row))
    return rows


def _about(comparison: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = (
        ("baseline", "baseline_id"),
        ("candidate", "candidate_id"),
        ("test data", "test_dataset"),
    )
    return [(name, str(comparison[key])) for name, key in lines if key in comparison]


def _remarks(comparison: Mapping[str, Any]) -> list[str]:
    undefined = comparison.get("undefined", {})
    notes = comparison.get("notes", {})
    return [
        *(f"{name} is undefined: {reason}." for name, reason in undefined.items()),
        *(f"{name}: {note}" for name, note in notes.items()),
    ]


def _label(name: str) -> str:
    metric = METRICS.get(name)
    return f"{name} (lower is better)" if metric and not metric.higher_is_better else name


def _number(value: float | None) -> str:
    if value is None:
        return _UNDEFINED
    return f"{value:.4f}" if _plain(value) else f"{value:.4g}"


def _signed(value: float) -> str:
    return f"{value:+.4f}" if _plain(value) else f"{value:+.4g}"


def _plain(value: float) -> bool:
    """Whether four decimals show the number well."""
    return value == 0 or 1e-3 <= abs(value) < 1e6  # noqa: PLR2004 - the width of a column
