"""Imported by a fork server: what is slow the first time is done before any process is forked."""

from __future__ import annotations

import torch

from compressor import Budget, fit
from tests.helpers import killed, server
from tests.helpers.tiny import tiny

torch.set_num_threads(1)
WARM = fit(tiny(), budget=Budget(params=700)), killed, server
