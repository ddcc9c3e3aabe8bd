"""The phases of a schedule, each of which trains, removes, rounds or measures."""

from compressor.phases.prune import Prune as Prune
from compressor.phases.repairing import Repair as Repair
from compressor.phases.train import FineTune as FineTune
from compressor.phases.train import Recalibrate as Recalibrate
from compressor.phases.train import Train as Train
from compressor.run.phase import Phase as Phase
from compressor.run.rates import Decay as Decay
from compressor.run.rates import constant as constant
from compressor.run.rates import cosine as cosine
from compressor.run.training import Training as Training

Plain = Solver = Phase
"""Deprecated: names of what `Phase` is, the base of phases that lower nothing or something."""
