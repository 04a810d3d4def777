"""A backend that cannot be imported."""

import a_driver_that_nobody_has

plugin = a_driver_that_nobody_has.plugin
