# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks print: a figure, or a point of a plot, a line."""
import json
import statistics


def tell(args, figure, rounds, unit, digits=1):
    """The median over rounds, and their extremes."""
    rounds = [round(v, digits) for v in rounds]
    value, low, high = round(statistics.median(rounds), digits), min(rounds), max(rounds)
    if args.json:
        print(json.dumps({'figure': figure, 'value': value, 'unit': unit, 'low': low, 'high': high}), flush=True)
    else:
        print(f'{figure:40} {value:12,} {unit:8} ({low:,} to {high:,})', flush=True)


def point(args, plot, system, x, rounds):
    """Only where they are collected."""
    if args.json:
        print(json.dumps({'series': plot, 'system': system, 'x': x, 'y': round(statistics.median(rounds), 1),
                          'low': round(min(rounds), 1), 'high': round(max(rounds), 1)}), flush=True)
