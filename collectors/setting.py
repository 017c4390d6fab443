"""What settings are declared with: pydantic, or plain values in a process whose configuration another one has checked.

The checker is worth its 12 MB once, at the start. A process that is to run for months imports
:mod:`collectors.plain_settings` before any module of settings and is handed a configuration that a child of it checked.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or "collectors.plain_settings" not in sys.modules:
    from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
else:
    from collectors.plain_settings import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ("BaseModel", "ConfigDict", "Field", "field_validator", "model_validator")
