# SPDX-License-Identifier: Apache-2.0
"""``skyglow simulate population``: homes, who is in them and what they use, without a study."""

import argparse
import dataclasses
import datetime
import re
from pathlib import Path

from skyglow_client.readings.formats import FORMATS
from skyglow_shared.errors import RunError
from skyglow_simulations import progress
from skyglow_simulations.population import census as census_tables
from skyglow_simulations.population import frame, stream
from skyglow_simulations.population.census import Census

#: What only `population` takes, with what it is when it is not given.
_OWN = {"lsoas": "", "homes": 0, "weeks": 0, "start": None, "dirty": False, "format": "", "drift": None}
_CODES = re.compile(r"[EW]\d{8}(?:[\s,]+[EW]\d{8})*")


def add_options(simulate: argparse.ArgumentParser) -> None:
    """Add the options that only ``population`` takes."""
    simulate.add_argument(
        "--frame",
        default="",
        choices=tuple(frame.FRAMES),
        help="who is missing from files and panel: homes at random, or not (default: even, with `population` uneven)",
    )
    own = simulate.add_argument_group("with `population` in place of a study: write homes, presence and readings only")
    own.add_argument("--lsoas", default="", metavar="CODES|FILE", help="LSOAs, with commas between, or a line each")
    own.add_argument("--homes", type=int, default=0, help="households in all (in place of --scale)")
    own.add_argument("--weeks", type=int, default=0, help="default: 4")
    own.add_argument("--start", type=_date, metavar="DATE", help="first day (default: 2026-03-09)")
    own.add_argument("--dirty", action="store_true", help="files with every fault, each in a list")
    own.add_argument("--format", default="", help=f"{', '.join(FORMATS)} (default: wide)")
    own.add_argument("--drift", type=float, help="how far areas have moved since the census (default: 1)")


def refuse_own(options: argparse.Namespace) -> None:
    """RunError if a study's run was given an option that only ``population`` takes."""
    given = [f"--{name}" for name, default in _OWN.items() if getattr(options, name) != default]
    if given:
        raise RunError(f"{', '.join(given)} is for `skyglow simulate population`; leave it out, or name no study")


def write(options: argparse.Namespace) -> int:
    """Write a population; an exit code."""
    if options.out is None:
        raise RunError("`population` needs a folder to write to; give --out DIR")
    asked = {"weeks": options.weeks, "start": options.start, "form": options.format, "frame": options.frame}
    given = {name: value for name, value in asked.items() if value}
    if options.drift is not None:
        given["drift"] = options.drift
    request = stream.Request(
        seed=options.seed, dirty=options.dirty, scale=options.scale, panel_fraction=options.panel, **given
    )
    census = _census(options)
    if options.homes:
        request = dataclasses.replace(request, scale=stream.scale_for(census, options.homes))
    with progress.shown(quiet=options.quiet) as show:
        stream.write(
            census,
            request,
            options.out,
            workers=options.workers,
            progress=lambda done, total: show("population", done, total),
        )
    return 0


def _census(options: argparse.Namespace) -> Census:
    if not options.lsoas:
        return census_tables.load(options.area, options.census)
    text = options.lsoas
    if not _CODES.fullmatch(text):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            message = (
                f"--lsoas is neither codes such as E01017136 nor a file of them ({type(error).__name__}); correct it"
            )
            raise RunError(message) from None
    codes = text.replace(",", " ").split()
    if not codes:
        raise RunError("--lsoas names no area; give codes such as E01017136")
    return census_tables.load_areas(codes, options.census)


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("not a date such as 2026-03-09") from None
