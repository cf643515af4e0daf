#!/usr/bin/env python3
"""Draws the losses that compare_stages wrote as an SVG: python3 docs/plot_losses.py losses.csv losses.svg

Left: the whole run. Right: the second stage, a line for each scheme. Needs nothing but Python.
"""
import csv
import sys

COLORS = ["#333333", "#0072b2", "#009e73", "#e69f00", "#d55e00", "#cc79a7", "#56b4e9"]
WIDTH, HEIGHT, TOP, BOTTOM = 1000, 380, 40, 50


def ticks(low, high, wanted=5):
    step = 10 ** len(str(int(high)))
    while (high - low) / step < wanted:
        step /= 2 if str(step)[0] in "12" else 2.5
    first = int(low / step) * step
    values = [first + i * step for i in range(wanted * 4)]
    return [v for v in values if low <= v <= high]


class Panel:
    def __init__(self, left, right, xs, ys):
        self.left, self.right = left, right
        self.x0, self.x1 = min(xs), max(xs)
        margin = (max(ys) - min(ys)) * 0.06 or 0.01
        self.y0, self.y1 = min(ys) - margin, max(ys) + margin

    def x(self, v):
        return self.left + (v - self.x0) / (self.x1 - self.x0 or 1) * (self.right - self.left)

    def y(self, v):
        return HEIGHT - BOTTOM - (v - self.y0) / (self.y1 - self.y0) * (HEIGHT - BOTTOM - TOP)

    def frame(self, title):
        out = [f'<text x="{(self.left + self.right) / 2}" y="22" text-anchor="middle" font-weight="bold">{title}</text>']
        for v in ticks(self.y0, self.y1):
            out.append(f'<line x1="{self.left}" x2="{self.right}" y1="{self.y(v):.1f}" y2="{self.y(v):.1f}" stroke="#ddd"/>')
            out.append(f'<text x="{self.left - 6}" y="{self.y(v) + 4:.1f}" text-anchor="end">{v:.3g}</text>')
        for v in ticks(self.x0, self.x1, 4):
            out.append(f'<text x="{self.x(v):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{v:.0f}</text>')
        out.append(f'<text x="{(self.left + self.right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">step</text>')
        out.append(f'<rect x="{self.left}" y="{TOP}" width="{self.right - self.left}" '
                   f'height="{HEIGHT - BOTTOM - TOP}" fill="none" stroke="#888"/>')
        return out

    def line(self, points, color):
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>'


def main(source, target):
    series = {}
    try:
        with open(source, newline="") as file:
            for row in csv.DictReader(file):
                series.setdefault(row["scheme"], []).append((int(row["step"]), float(row["validation_loss"])))
    except (OSError, KeyError, TypeError, ValueError) as error:
        sys.exit(f"{source}: cannot be read as what compare_stages --csv writes: {type(error).__name__}: {error}")
    first = series.pop("stage 1", [])
    if not first or not series:
        sys.exit(f"{source}: there must be losses of stage 1 and of a second stage after it")
    second = {name: [first[-1]] + points for name, points in series.items()}
    everything = first + [p for points in second.values() for p in points]
    zoom = [p for points in second.values() for p in points]
    left = Panel(60, 440, [x for x, _ in everything], [y for _, y in everything])
    right = Panel(520, 780, [x for x, _ in zoom], [y for _, y in zoom])
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
           'font-size="12">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    out += left.frame("validation loss, nats a byte") + right.frame("second stage")
    out.append(left.line(first, "#999999"))
    for color, (name, points) in zip(COLORS, second.items()):
        out += [left.line(points, color), right.line(points, color)]
    order = sorted(zip(COLORS, second.items()), key=lambda item: -item[1][1][-1][1])
    for i, (color, (name, points)) in enumerate(order):
        y = TOP + 14 + 20 * i
        out.append(f'<line x1="792" x2="812" y1="{y - 4}" y2="{y - 4}" stroke="{color}" stroke-width="3"/>')
        out.append(f'<text x="818" y="{y}">{name} {points[-1][1]:.3f}</text>')
    out.append("</svg>")
    with open(target, "w") as file:
        file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
