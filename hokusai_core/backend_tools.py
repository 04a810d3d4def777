"""What authors of backends need, in one place: the manifest, the marks, values, and helpers.

A backend can be written with nothing but this module, :mod:`hokusai_core.operations`,
:mod:`hokusai_core.entities`, :mod:`hokusai_core.queries` and :mod:`hokusai_core.errors`. The helpers
give MLflow's meaning to filters, to metric points that are one, and to pages.
"""

from hokusai_core.clock import Deadline
from hokusai_core.environment import EnvironmentModel
from hokusai_core.filters import matches, parse_filter, parse_order_by, sort_runs
from hokusai_core.hookspecs import OpenContent
from hokusai_core.identifiers import OP_ID_TAG
from hokusai_core.machine import machine_id
from hokusai_core.markers import hookimpl
from hokusai_core.memory_listings import folder_listing, page_of, page_offset
from hokusai_core.memory_metrics import in_order, latest_points
from hokusai_core.memory_tracking import select_runs
from hokusai_core.plugins import BackendConfig, BackendPlugin, Capability, Role

__all__ = [
    "OP_ID_TAG",
    "BackendConfig",
    "BackendPlugin",
    "Capability",
    "Deadline",
    "EnvironmentModel",
    "OpenContent",
    "Role",
    "folder_listing",
    "hookimpl",
    "in_order",
    "latest_points",
    "machine_id",
    "matches",
    "page_of",
    "page_offset",
    "parse_filter",
    "parse_order_by",
    "select_runs",
    "sort_runs",
]
