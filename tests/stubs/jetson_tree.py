"""The power meters of a Jetson board in a temporary folder, as hwmon and the older driver show them."""

from pathlib import Path


def hwmon(machine: Path) -> Path:
    """Where the hwmon devices lie below the root of a machine's file system."""
    return machine / "sys/class/hwmon"


def old_driver(machine: Path) -> Path:
    """Where the older driver has its meters."""
    return machine / "sys/bus/i2c/drivers/ina3221x"


def write_meter(machine: Path, number: int, rails: dict[str, tuple[int, int]]) -> Path:
    """An INA3221 with up to three rails: label -> (mV, mA), and the shunt channels that the driver adds."""
    folder = hwmon(machine) / f"hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text("ina3221\n")
    for channel, (label, (millivolts, milliamperes)) in enumerate(rails.items(), start=1):
        (folder / f"in{channel}_label").write_text(f"{label}\n")
        (folder / f"in{channel}_enable").write_text("1\n")
        (folder / f"in{channel}_input").write_text(f"{millivolts}\n")
        (folder / f"curr{channel}_input").write_text(f"{milliamperes}\n")
        (folder / f"in{channel + 3}_input").write_text("10\n")
    (folder / "in7_label").write_text("sum of shunt voltages\n")
    (folder / "curr4_input").write_text("30000\n")
    return folder


def write_old_meter(machine: Path, address: str, rails: dict[str, int]) -> Path:
    """A meter of the older driver: label -> mW."""
    folder = old_driver(machine) / address / "iio:device0"
    folder.mkdir(parents=True)
    for channel, (label, milliwatts) in enumerate(rails.items()):
        (folder / f"rail_name_{channel}").write_text(f"{label}\n")
        (folder / f"in_power{channel}_input").write_text(f"{milliwatts}\n")
    return folder
