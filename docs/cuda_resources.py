#!/usr/bin/env python3
"""Writes docs/cuda_resources.md: what each kernel of the CUDA backend takes of a GPU, as ptxas says (nvcc -Xptxas -v).

    python3 docs/cuda_resources.py [--jobs N]
    python3 docs/cuda_resources.py --check FILE...   whether the table is what these say: what nvcc -Xptxas -v printed of
                                                     models of all SCHEMES for all ARCHITECTURES (tests/cmake/nvcc.sh)

The kernels are those of models of the library's own schemes. Nothing runs: a machine with nvcc is enough.
"""
import argparse
import concurrent.futures
import difflib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCHEMES = ["A48", "A48Fp4", "B158", "Fp32"]
ARCHITECTURES = ["sm_80", "sm_90a", "sm_100"]

KERNEL = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for '(?P<architecture>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)", re.DOTALL)


def compiled(nvcc, scheme, architecture):
    """What ptxas says of a model."""
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, "-std=c++20", "-cubin", "-arch=" + architecture, "-Xptxas", "-v", "-I", str(ROOT / "include"),
                   "-DBITNET_SCHEME=" + scheme, str(ROOT / "tests/cmake/cuda_model.cu"), "-o", folder + "/model.cubin"]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"nvcc fails for {scheme} and {architecture}:\n{done.stderr}")
    print(f"{scheme}, {architecture}", flush=True)
    return done.stderr


def kernels_of(texts):
    """{mangled name: {architecture: (registers, shared, stack, spilled)}}."""
    kernels = {}
    for text in texts:
        for found in KERNEL.finditer(text):
            shared = re.search(r"(\d+) bytes smem", found["rest"])
            kernels.setdefault(found["name"], {})[found["architecture"]] = (
                int(found["registers"]), int(shared[1]) if shared else 0, int(found["stack"]),
                int(found["stores"]) + int(found["loads"]))
    return kernels


def readable(names):
    """Kernels as their source calls them."""
    text = subprocess.run(["c++filt"], input="\n".join(names), stdout=subprocess.PIPE, text=True, check=True).stdout
    result = {}
    for mangled, name in zip(names, text.splitlines()):
        name = re.sub(r"^void bitnet::cuda::RunKernel<(.*)>\(.*$", r"\1", name)
        name = re.sub(r"\b(bitnet::|cuda::)", "", name)
        name = re.sub(r"\b(\d+)ul?\b", r"\1", re.sub(r"\((?:unsigned )?\w+\)(\d+)", r"\1", name))
        result[mangled] = name.replace(" >", ">").strip()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many nvcc run at once")
    parser.add_argument("--check", nargs="+", metavar="FILE")
    arguments = parser.parse_args()
    os.environ["PATH"] += ":" + os.environ.get("CUDA_HOME", "/usr/local/cuda") + "/bin"
    version = subprocess.run(["nvcc", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    version = re.search(r"release (\S+?),", version)[1]

    table = ROOT / "docs/cuda_resources.md"
    if arguments.check:
        if f"ptxas of CUDA {version} " not in table.read_text():
            print(f"docs/cuda_resources.md is of another CUDA than {version}: not compared")
            return
        texts = [pathlib.Path(file).read_text() for file in arguments.check]
    else:
        pairs = [(scheme, architecture) for scheme in SCHEMES for architecture in ARCHITECTURES]
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            texts = list(pool.map(lambda pair: compiled("nvcc", *pair), pairs))
    kernels = kernels_of(texts)
    names = readable(sorted(kernels))
    rows = sorted((names[mangled], numbers) for mangled, numbers in kernels.items())

    def column(numbers, index):
        values = [numbers[a][index] if a in numbers else None for a in ARCHITECTURES]
        if len(set(values)) == 1:
            return str(values[0])
        return " / ".join("-" if v is None else str(v) for v in values)

    spilling = [name for name, numbers in rows if any(n[3] for n in numbers.values())]
    spill_notes = [f"- `{name}`" for name in spilling]
    lines = [
        "# What kernels take",
        "",
        f"Written by `python3 docs/cuda_resources.py`, from what ptxas of CUDA {version} says of the kernels of models of",
        f"{', '.join(SCHEMES[:-1])} and {SCHEMES[-1]}, {len(rows)} in all. Where the three architectures differ:",
        f"{' / '.join(ARCHITECTURES)}. Shared memory that a kernel asks for when it is launched (`kLargeShared`) is not in",
        "its numbers. Spilled bytes: of stores and of loads, together. A thread has at most 255 registers; a",
        "multiprocessor has 65536 for all of its threads.",
        "",
        f"{len(spilling)} kernels spill registers to memory:" if spilling else "No kernel spills registers to memory.",
        "",
        *spill_notes,
        *([""] if spilling else []),
        "| kernel | registers a thread | shared bytes a block | stack bytes a thread | spilled bytes |",
        "|---|---|---|---|---|",
    ]
    for name, numbers in rows:
        cells = [column(numbers, i) for i in range(4)]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    if arguments.check:
        before = table.read_text()
        if text != before:
            sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), text.splitlines(True), "the table",
                                                       "what ptxas says", n=0))
            sys.exit("docs/cuda_resources.md is not what kernels take: run python3 docs/cuda_resources.py")
    else:
        table.write_text(text)
    print(f"docs/cuda_resources.md: {len(rows)} kernels, {len(spilling)} of which spill")


if __name__ == "__main__":
    main()
