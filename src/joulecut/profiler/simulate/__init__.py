"""A seeded machine with sensors whose true joules are known: for tests, and to try a measurement dry.

    Load -> World (a clock, and the watts of each load over time) -> SimulatedSensor (what counters show)

>>> world = World(Load("cpu", idle_w=10.0))
>>> sensor = SimulatedSensor(world, [energy_counter("package:0", "cpu", tick_s=0.001)])
>>> before = sensor.read()
>>> world.work(2.0, power_w=50.0)
>>> round(world.energy_j("cpu", before.end_s, world.now_s()), 3)
100.0
"""

from joulecut.profiler.simulate.meters import Fault, Meter, energy_counter, power_gauge
from joulecut.profiler.simulate.sensor import SimulatedSensor
from joulecut.profiler.simulate.timeline import Load
from joulecut.profiler.simulate.world import World

__all__ = ["Fault", "Load", "Meter", "SimulatedSensor", "World", "energy_counter", "power_gauge"]
