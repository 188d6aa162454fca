"""``joulecut devices``: the devices that joulecut knows, or one of them whole."""

from __future__ import annotations

import argparse
import json

from joulecut.cli.output import Output

__all__ = ["HELP", "add_arguments", "run"]

HELP = "list the known devices, or show one with its sources"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME|FILE", nargs="?", help="a device to show whole")


def run(args: argparse.Namespace, out: Output) -> int:
    """Print the catalogue or one device.

    Raises:
        UnknownDevice: no device of that name.
        DeviceFileError: a device file breaks the schema.
    """
    from joulecut import api
    from joulecut.hw_models.catalogue import describe
    from joulecut.reports.device_console import print_device, print_devices

    if args.name is not None:
        out.show(describe(api.device(args.name)), print_device)
    elif out.json:
        from joulecut.codec import VERSION, to_plain

        listing = {"schema": f"joulecut/devices/{VERSION}", "devices": to_plain(api.devices())}
        out.stdout.write(json.dumps(listing, indent=1, ensure_ascii=False) + "\n")
    else:
        out.show(api.devices(), print_devices)
    return 0
