#!/usr/bin/env python3
"""Draws docs/images/performance_*.svg and fills the tables of docs/performance.md from what the benchmarks wrote.

    ./dev bench --benchmark_out=bench1.json --benchmark_out_format=json      (once or more: medians are taken)
    ./dev claims --json claims1.json
    python3 docs/plot_performance.py bench1.json ... claims1.json ... [avx2.json] [vectors.json]

Which file is which is seen from its contents; a run of the lines of other formats alone counts for these; avx2.json is of a bitnet_bench that was built for AVX2, vectors.json of one
that ran with BITNET_NO_AMX=1 beside others that did not. Needs nothing but Python.
"""
import json
import math
import os
import re
import statistics
import sys

COLORS = ["#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#333333"]
FOLDER = os.path.dirname(os.path.abspath(__file__))


def fail(message):
    sys.exit(message)


# ---- Reading.


class Bench:
    """Medians of the runs' lines: time in microseconds and counters, by name without Google Benchmark's suffixes."""

    def __init__(self, runs):
        values = {}
        for run in runs:
            for line in run["benchmarks"]:
                name = re.sub(r"/(iterations:\d+|manual_time|real_time)", "", line["name"])
                for key in ("real_time", "of_bandwidth", "of_dot_peak", "bytes/s", "MAC/s", "density", "median_us", "tokens/s", "of_one"):
                    if key in line:
                        values.setdefault((name, key), []).append(line[key])
        self.values = {key: statistics.median(v) for key, v in values.items()}
        self.context = runs[0]["context"] if runs else {}
        self.runs = len(runs)

    def get(self, name, key="real_time"):
        return self.values.get((name, key))

    def names(self, pattern):
        return sorted({name for name, _ in self.values if re.fullmatch(pattern, name)})


class Claims:
    def __init__(self, runs):
        self.machine = runs[0]["machine"] if runs else ""
        self.runs = len(runs)
        self.limits = {}
        values = {}
        for run in runs:
            for limit in run["limits"]:
                self.limits.setdefault(limit["threads"], []).append(limit["read_bytes_per_s"])
            for r in run["results"]:
                flat = {k: v for k, v in r.items() if isinstance(v, (int, float))}
                for d in r["decode"]:
                    flat[f"decode@{d['context']}"] = d["per_s"]
                values.setdefault((r["shape"], r["model"], r["threads"]), []).append(flat)
        self.limits = {threads: statistics.median(v) for threads, v in self.limits.items()}
        self.values = {
            key: {k: statistics.median([v[k] for v in several]) for k in several[0]} for key, several in values.items()
        }

    def get(self, shape, model, threads, key):
        return self.values.get((shape, model, threads), {}).get(key)

    def ratio(self, shape, model, base, threads, key):
        a, b = self.get(shape, model, threads, key), self.get(shape, base, threads, key)
        return None if a is None or b is None else a / b

    def shapes(self):
        return list(dict.fromkeys(shape for shape, _, _ in self.values))


# ---- Drawing.


def svg(width, height, parts):
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                      'font-family="sans-serif" font-size="12">',
                      f'<rect width="{width}" height="{height}" fill="white"/>'] + parts + ["</svg>"]) + "\n"


def text(x, y, content, anchor="start", weight="normal"):
    content = content.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{content}</text>'


def rule(x1, y1, x2, y2, color="#ddd", width=1.0):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="{width}"/>'


def nice_ticks(top):
    step = 10 ** math.floor(math.log10(top))
    for divisor in (1, 2, 5, 10):
        if top / (step / divisor) >= 4:
            step /= divisor
            break
    return [i * step for i in range(int(top / step) + 1)]


class Lines:
    """A panel of lines; x may be logarithmic."""

    def __init__(self, left, right, title, xlabel, series, log_x=False, height=330):
        self.parts, top, bottom = [], 40, height - 45
        xs = [x for _, points in series for x, _ in points]
        most = max(y for _, points in series for _, y in points) * 1.05
        place = (lambda v: math.log2(v)) if log_x else (lambda v: v)
        low, high = place(min(xs)), place(max(xs))
        x_of = lambda v: left + (place(v) - low) / ((high - low) or 1) * (right - left)
        y_of = lambda v: bottom - v / most * (bottom - top)
        self.parts.append(text((left + right) / 2, 22, title, "middle", "bold"))
        for v in nice_ticks(most):
            self.parts += [rule(left, y_of(v), right, y_of(v)), text(left - 6, y_of(v) + 4, f"{v:g}", "end")]
        for v in sorted(set(xs)) if log_x else [0, 0.2, 0.4, 0.6, 0.8, 1.0]:
            self.parts.append(text(x_of(v), bottom + 18, f"{v:g}" if log_x else f"{100 * v:.0f} %", "middle"))
        self.parts.append(text((left + right) / 2, bottom + 36, xlabel, "middle"))
        for i, (name, points) in enumerate(series):
            color = COLORS[i % len(COLORS)]
            path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in sorted(points))
            self.parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
            self.parts += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2.5" fill="{color}"/>' for x, y in points]
            self.parts += [rule(right + 10, 50 + 18 * i, right + 28, 50 + 18 * i, color, 3),
                           text(right + 34, 54 + 18 * i, name)]


def bars(title, groups, names, unit, width=900):
    """groups: [(label, [value or None for each name])], horizontal."""
    row, left, right = 15, 330, width - 70
    top = 46
    most = max(v for _, values in groups for v in values if v is not None) * 1.05
    parts = [text(width / 2, 20, title, "middle", "bold")]
    for i, name in enumerate(names):
        parts += [f'<rect x="{left + 150 * i}" y="28" width="12" height="10" fill="{COLORS[i]}"/>',
                  text(left + 150 * i + 17, 38, name)]
    y = top + 8
    for label, values in groups:
        parts.append(text(left - 8, y + row * len(values) / 2 + 4, label, "end"))
        for i, value in enumerate(values):
            if value is not None:
                w = value / most * (right - left)
                parts += [f'<rect x="{left}" y="{y + row * i}" width="{w:.1f}" height="{row - 3}" fill="{COLORS[i]}"/>',
                          text(left + w + 5, y + row * i + 10, f"{value:.2f}{unit}")]
        y += row * len(values) + 8
    return svg(width, y + 10, parts)


def write(name, content):
    path = os.path.join(FOLDER, "images", f"performance_{name}.svg")
    with open(path, "w") as file:
        file.write(content)


# ---- What is shown.

T4, F4, T8 = "Ternary*Int<4>", "Ternary*Fp4E2M1", "Ternary*Int<8>"


def line_name(op, formats, shape, threads, backend="Simd"):
    return f"BM_{op}/{formats}/{backend}/{shape}/t{threads}"


def draw_shares(bench):
    groups = []
    for label, op, formats, shape in [
            ("ternary x INT4, 6912 x 2560", "MatVec", T4, "6912x2560"),
            ("ternary x FP4, 6912 x 2560", "MatVec", F4, "6912x2560"),
            ("ternary x INT8, 6912 x 2560", "MatVec", T8, "6912x2560"),
            ("ternary x INT4, 2560 x 6912", "MatVec", T4, "2560x6912"),
            ("ternary x INT8, 2560 x 6912", "MatVec", T8, "2560x6912"),
            ("ternary x INT4, 2560 x 2560", "MatVec", T4, "2560x2560"),
            ("a third of the rows of 6912 x 2560", "MatMulRows", T4, "6912x2560/33%"),
            ("16 % of the columns of 2560 x 6912", "MatMulColumns", T8, "2560x6912/16%"),
            ("INT4 head x INT8, 32000 x 2560", "MatVec", "Int<4>PerRow*Int<8>", "32000x2560"),
            ("bfloat16, 6912 x 2560", "MatVec", "Bf16*Float", "6912x2560")]:
        backend = "Baseline" if "bfloat" in label else "Simd"
        groups.append((label, [bench.get(line_name(op, formats, shape, t, backend), "of_bandwidth") for t in (1, 2)]))
    for shape in ("20x5x128", "32x32x128"):
        for tokens in (2048, 8192, 32768):
            groups.append((f"attention, 3 bits, {shape}, {tokens} tokens",
                           [bench.get(line_name("Attend", "MidRise<3>", f"{shape}/{tokens}", t), "of_bandwidth")
                            for t in (1, 2)]))
    groups = [g for g in groups if any(v is not None for v in g[1])]
    write("shares", bars("Bytes needed per second, share of the read bandwidth", groups, ["1 thread", "2 threads"], ""))
    groups = []
    for label, formats in (("INT4", T4), ("FP4", F4), ("INT8", T8)):
        for tokens in (64, 256):
            groups.append((f"ternary x {label}, 6912 x 2560, {tokens} tokens",
                           [bench.get(line_name("MatMul", formats, f"6912x2560x{tokens}", t), "of_dot_peak")
                            for t in (1, 2)]))
    groups = [g for g in groups if any(v is not None for v in g[1])]
    write("prefill", bars("Multiply-adds per second, share of the peak of the int8 dot product of vectors", groups,
                          ["1 thread", "2 threads"], ""))


def draw_density(bench):
    parts = []
    for i, (op, formats, shape, title) in enumerate([
            ("MatMulRows", T4, "6912x2560", "rows (up), microseconds"),
            ("MatMulColumns", T8, "2560x6912", "columns (down), microseconds")]):
        series = []
        for t in (1, 2):
            points = []
            for name in bench.names(rf"BM_{op}/{re.escape(formats)}/Simd/{shape}/\d+%/t{t}"):
                points.append((bench.get(name, "density") or 1.0, bench.get(name)))
            dense = bench.get(line_name("MatVec", formats, shape, t))
            if points:
                series.append((f"skipping, t{t}", points))
            if dense and points:
                series.append((f"all, lookups, t{t}", [(0.0, dense), (1.0, dense)]))
        if series:
            parts += Lines(60 + 500 * i, 380 + 500 * i, title, "share that is needed", series).parts
    if parts:
        write("density", svg(1020, 330, parts))


def draw_claims(claims):
    shape = "2B-4T" if "2B-4T" in claims.shapes() else claims.shapes()[-1]
    parts = []
    for i, threads in enumerate((1, 2)):
        series = []
        for model in ("bf16", "W1.58A8", "a4.8 INT4", "a4.8 FP4"):
            record = claims.values.get((shape, model, threads), {})
            points = [(int(k[7:]), v) for k, v in record.items() if k.startswith("decode@")]
            if points:
                series.append((model, points))
        if series:
            parts += Lines(60 + 490 * i, 380 + 490 * i, f"{shape}: tokens/s while decoding, {threads} thread(s)",
                           "tokens in the cache", series, log_x=True).parts
    write("context", svg(1000, 330, parts))
    groups = []
    for shape in claims.shapes():
        total = lambda model: sum(claims.get(shape, model, 1, k) for k in ("weight_bytes", "embedding_bytes", "cache_bytes"))
        for label, key in (("memory", None), ("decode, 2048 tokens", "decode@2048"), ("decode, 128 tokens", "decode@128"),
                           ("prefill of 256", "prefill_per_s")):
            values = []
            for model in ("W1.58A8", "a4.8 INT4", "a4.8 FP4"):
                values.append(total("bf16") / total(model) if key is None else claims.ratio(shape, model, "bf16", 1, key))
            groups.append((f"{shape}: {label}", values))
    write("claims", bars("Times better than bfloat16, one thread", groups, ["W1.58A8", "a4.8 INT4", "a4.8 FP4"], ""))


def number(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


def pair(a, b, digits=2):
    return f"{number(a, digits)} / {number(b, digits)}"


def target_rows(bench, claims, avx2, vectors):
    """[what, target, measured]; 'a / b' is one thread / two."""
    rows = []

    def share(what, target, formats, shape):
        rows.append((what, target, pair(*[bench.get(line_name("MatVec", formats, shape, t), "of_bandwidth") for t in (1, 2)])))

    for label, formats in (("INT4", T4), ("FP4", F4)):
        for shape in ("6912x2560", "2560x6912"):
            share(f"ternary x {label}, {shape}, weights in memory: share of the read bandwidth", "0.85 / 0.90", formats, shape)
    for shape in ("6912x2560", "2560x6912"):
        share(f"ternary x INT8, {shape}: the same", "0.85", T8, shape)

    def over(what, target, a, b, digits=2):
        values = []
        for t in (1, 2):
            x, y = bench.get(a + f"/t{t}"), bench.get(b + f"/t{t}")
            values.append(None if not x or not y else x / y)
        rows.append((what, target, pair(*values, digits)))

    for label, formats in (("INT4", T4), ("FP4", F4)):
        over(f"ternary x {label} in cache, 1536x1536: times faster than our integer dot product", "2.5",
             f"BM_MatVecByRowsInCache/{formats}/Simd/1536x1536", f"BM_MatVecInCache/{formats}/Simd/1536x1536")
    for label, formats in (("INT4", T4), ("FP4", F4)):
        for tokens in (64, 256):
            rows.append((f"ternary x {label}, {tokens} tokens, 6912x2560: share of the peak of the vectors' int8 dot product", "1.3",
                         pair(*[bench.get(line_name("MatMul", formats, f"6912x2560x{tokens}", t), "of_dot_peak") for t in (1, 2)])))
    if vectors:
        for label, formats in (("INT4", T4), ("FP4", F4)):
            for tokens in (64, 256):
                rows.append((f"... {label}, {tokens} tokens, by lookups, without the matrix unit", "1.3",
                             pair(*[vectors.get(line_name("MatMul", formats, f"6912x2560x{tokens}", t), "of_dot_peak")
                                    for t in (1, 2)])))
    for percent, target in ((33, "0.75"), (10, "0.35")):
        over(f"`up`, {percent} % of the rows: time over all by lookups", f"at most {target}",
             f"BM_MatMulRows/{T4}/Simd/6912x2560/{percent}%", f"BM_MatVec/{T4}/Simd/6912x2560")
    over("`down`, 16 % of the columns: the same", "at most 0.40",
         f"BM_MatMulColumns/{T8}/Simd/2560x6912/16%", f"BM_MatVec/{T8}/Simd/2560x6912")
    over("attention output, half of the inputs kept, read by columns: the same", "at most 1",
         f"BM_MatMulColumns/{T8}/Simd/2560x2560/50%", f"BM_MatVec/{T8}/Simd/2560x2560")
    if avx2:
        values = [avx2.get(f"BM_MatVecByRowsInCache/{f}/Simd/1536x1536/t1") / avx2.get(f"BM_MatVecInCache/{f}/Simd/1536x1536/t1")
                  for f in (T4, F4)]
        rows.append(("built for AVX2, in cache, 1536x1536, one thread: lookups over our 8-bit dot product, INT4 / FP4", "1.3",
                     pair(*values)))
    values = []
    for formats in (T4, F4):
        one, two = (bench.get(line_name("MatVecInCache", formats, "2560x2560", t)) for t in (1, 2))
        values.append(None if not one or not two else one / two)
    rows.append(("two threads over one in cache, 2560x2560, INT4 / FP4", "1.8", pair(*values)))
    for shape in ("20x5x128", "32x32x128"):
        for tokens in (8192, 32768):
            name = lambda t: f"BM_Attend/MidRise<3>/Simd/{shape}/{tokens}/t{t}"
            rows.append((f"attention, {shape}, {tokens} tokens, 3-bit cache: share of the read bandwidth", "0.6",
                         pair(*[bench.get(name(t), "of_bandwidth") for t in (1, 2)])))
            base = [bench.get(f"BM_Attend/Float*Bf16/Baseline/{shape}/{tokens}/t{t}") for t in (1, 2)]
            mine = [bench.get(name(t)) for t in (1, 2)]
            rows.append((f"... times faster than over a bfloat16 cache", "3.5",
                         pair(*[None if not a or not b else a / b for a, b in zip(base, mine)])))
    if claims:
        both = lambda shape, base, key, invert=False: pair(*[
            None if r is None else (1 / r if invert else r)
            for r in (claims.ratio(shape, "a4.8 INT4", base, t, key) for t in (1, 2))])
        rows.append(("FFN of one token at the 7B sparsity: times faster than W1.58A8", "1.6", both("7B", "W1.58A8", "ffn_s", True)))
        for shape in claims.shapes():
            rows.append((f"decode of {shape}, 2048 tokens in the cache: times faster than W1.58A8", "1.5", both(shape, "W1.58A8", "decode@2048")))
            rows.append(("... than bfloat16", "8", both(shape, "bf16", "decode@2048")))
        total = lambda model: sum(claims.get("7B", model, 1, k) or 0 for k in ("weight_bytes", "embedding_bytes", "cache_bytes"))
        if "7B" in claims.shapes():
            rows.append(("memory of 7B with 2048 tokens of cache: bfloat16 over a4.8", "9", number(total("bf16") / total("a4.8 INT4"))))
        if "2B-4T" in claims.shapes():
            bandwidth = claims.limits
            scaled = [48 * bandwidth[1] / 29e9, 68 * bandwidth[2] / 33e9]
            rows.append(("decode of 2B-4T, tokens/s (target scaled by this run's "
                         f"{bandwidth[1] / 1e9:.1f} / {bandwidth[2] / 1e9:.1f} GB/s)", pair(*scaled, 0),
                         pair(*[claims.get("2B-4T", "a4.8 INT4", t, "decode@2048") for t in (1, 2)], 1)))
            rows.append(("prefill of 256 tokens of 2B-4T, tokens/s", "150 / 290",
                         pair(*[claims.get("2B-4T", "a4.8 INT4", t, "prefill_per_s") for t in (1, 2)], 0)))
    return rows


def groups_table(bench):
    """Steps for groups of columns, beside the same product with one step a row. 'a / b' is one thread / two."""
    out = ["| weights x inputs | one token, from memory: time over one step a row | share of the read bandwidth | "
           "64 tokens: time over one step a row |", "|---|---|---|---|"]

    def ratio(grouped, plain):
        values = [(bench.get(f"{grouped}/t{t}"), bench.get(f"{plain}/t{t}")) for t in (1, 2)]
        return pair(*[a / b if a and b else None for a, b in values])

    for weights, groups, inputs in [("Ternary", (64, 128, 256), "Int<4>"), ("Ternary", (64, 128, 256), "Int<8>"),
                                    ("FourLevels", (64, 128, 256), "Int<4>"), ("FourLevels", (64, 128, 256), "Int<8>"),
                                    ("Int<4>", (32,), "Int<8>"), ("Int<6>", (16,), "Int<8>"), ("Int<8>", (32,), "Int<8>")]:
        for group in groups:
            name = lambda op, w, shape: f"BM_{op}/{w}*{inputs}/Simd/{shape}"
            one = name("MatVec", f"{weights}/{group}", "6912x2560")
            if not bench.get(one + "/t1"):
                continue
            label = {"FourLevels": "{-1, 0, 1, 2}", "Ternary": "ternary"}.get(weights, weights)
            out.append(f"| {label}, a step for each {group} columns, x {inputs} | "
                       f"{ratio(one, name('MatVec', weights + 'PerRow', '6912x2560'))} | "
                       f"{pair(*[bench.get(f'{one}/t{t}', 'of_bandwidth') for t in (1, 2)])} | "
                       f"{ratio(name('MatMul', f'{weights}/{group}', '6912x2560x64'), name('MatMul', weights + 'PerRow', '6912x2560x64'))} |")
    return out


def caches_table(bench):
    out = ["| cache, with queries of its own | bits a value | time over the 3-bit cache's | share of the read bandwidth |",
           "|---|---|---|---|"]
    name = lambda cache: f"BM_Attend/{cache}/Simd/20x5x128/2048/t1"
    for cache, bits in [("MidRise<3>", 3), ("FiveLevels", 3), ("UInt<4>", 4), ("Fp4E2M1", 4), ("Int<8>", 8), ("Float", 32)]:
        own, base = bench.get(name(cache)), bench.get(name("MidRise<3>"))
        if own and base:
            out.append(f"| {cache} | {bits} | {number(own / base)} | {number(bench.get(name(cache), 'of_bandwidth'))} |")
    return out


def conversations_table(bench):
    out = ["| conversations | tokens/s in all, t1 / t2 | times one's |", "|---|---|---|"]
    for n in (1, 2, 4, 8, 16):
        name = lambda t: f"BM_Decode/A48_Int4Head/2B-4T/conversations:{n}/t{t}"
        out.append(f"| {n} | {pair(*[bench.get(name(t), 'tokens/s') for t in (1, 2)], 1)} | "
                   f"{pair(*[bench.get(name(t), 'of_one') for t in (1, 2)])} |")
    return out


PEERS = {  # microseconds, from shared measurements of the peers on another machine: see performance.md
    "2560x2560": ((78, 89), (47, 52)),
    "6912x2560": ((213, 237), (107, 128)),
    "2560x6912": ((191, 208), (125, 128)),
}


def claims_table(claims):
    out = ["| shape | | MiB, 2048 tokens | decode/s at 2048, t1 / t2 | at 128 | at 32768 | prefill of 256/s |",
           "|---|---|---|---|---|---|---|"]
    for shape in claims.shapes():
        for model in ("bf16", "W1.58A8", "a4.8 INT4", "a4.8 FP4"):
            if (shape, model, 1) not in claims.values:
                continue
            mib = sum(claims.get(shape, model, 1, k) for k in ("weight_bytes", "embedding_bytes", "cache_bytes")) / 2**20
            get = lambda key, digits: pair(*[claims.get(shape, model, t, key) for t in (1, 2)], digits)
            out.append(f"| {shape} | {model} | {mib:.0f} | {get('decode@2048', 2)} | {get('decode@128', 2)} | "
                       f"{get('decode@32768', 2)} | {get('prefill_per_s', 0)} |")
    return out


def fill(document, name, lines):
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.S)
    if not pattern.search(document):
        fail(f"performance.md has no place for '{name}'")
    return pattern.sub(lambda m: m.group(1) + "\n".join(lines) + "\n" + m.group(2), document)


def main(paths):
    benches, avx2, without_unit, claims = [], [], [], []
    for path in paths:
        try:
            with open(path) as file:
                content = json.load(file)
            if "benchmarks" in content:
                if "target AVX2," in content["context"]["machine"]:
                    avx2.append(content)
                elif content["context"].get("matrix_unit") == "no":
                    without_unit.append(content)
                else:
                    benches.append(content)
            else:
                if "results" not in content or "limits" not in content:
                    raise KeyError("results")
                claims.append(content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            fail(f"{path}: cannot be read as what ./dev bench or ./dev claims writes: {type(error).__name__}: {error}")
    if not benches:
        # A machine without the unit.
        benches, without_unit = without_unit, []
    if not benches or not claims:
        fail("both are needed: what ./dev bench wrote, and what ./dev claims --json wrote")
    # Runs of all lines, and those of other formats: a run of some lines only (formats.json) counts for these alone.
    has = lambda run, prefix: any(line["name"].startswith(prefix) for line in run["benchmarks"])
    formats = Bench([run for run in benches if has(run, "BM_Decode/")])
    bench, claimed = Bench([run for run in benches if has(run, f"BM_MatVec/{T4}/Simd/2560x2560")]), Claims(claims)
    os.makedirs(os.path.join(FOLDER, "images"), exist_ok=True)
    draw_shares(bench)
    draw_density(bench)
    draw_claims(claimed)
    path = os.path.join(FOLDER, "performance.md")
    with open(path) as file:
        document = file.read()
    rate = lambda t: (bench.get(f"BM_ReadBandwidth/t{t}", "bytes/s") or 0) / 1e9
    peak = lambda t: (bench.get(f"BM_DotPeak/t{t}", "MAC/s") or 0) / 1e9
    document = fill(document, "machine", [
        f"{claimed.machine}. Medians over runs of the benchmarks ({bench.runs}) and of the claims ({claimed.runs}). Reads "
        f"{rate(1):.1f} GB/s with one thread and {rate(2):.1f} with two ({claimed.limits[1] / 1e9:.1f} and "
        f"{claimed.limits[2] / 1e9:.1f} in the runs of the claims); int8 dot product of vectors, in registers, "
        f"{peak(1):.0f} and {peak(2):.0f} GMAC/s."])
    rows = target_rows(bench, claimed, Bench(avx2) if avx2 else None, Bench(without_unit) if without_unit else None)
    document = fill(document, "targets", ["| what, with one thread / two | target | measured |", "|---|---|---|"] +
                    [f"| {a} | {b} | {c} |" for a, b, c in rows])
    table = ["| rows x columns | threads | best peers, us | ours, INT4, us | ours, FP4, us |", "|---|---|---|---|---|"]
    for shape, times in PEERS.items():
        for t in (1, 2):
            table.append(f"| {shape.replace('x', ' x ')} | {t} | {times[t - 1][0]} - {times[t - 1][1]} | "
                         f"{number(bench.get(line_name('MatVec', T4, shape, t)), 0)} | "
                         f"{number(bench.get(line_name('MatVec', F4, shape, t)), 0)} |")
    document = fill(document, "peers", table)
    document = fill(document, "claims", claims_table(claimed))
    machine = formats.context.get("machine", "")
    document = fill(document, "groups", [f"Measured on {machine}, in {formats.runs} run{'' if formats.runs == 1 else 's'}.", ""] + groups_table(formats))
    document = fill(document, "caches", caches_table(formats))
    document = fill(document, "conversations", conversations_table(formats))
    with open(path, "w") as file:
        file.write(document)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1:])
