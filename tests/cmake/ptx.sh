# shellcheck shell=bash
# What the scripts that run nvcc read in PTX; to be sourced.

# products_of_floats FILE.ptx: of each kernel how many products of floats are fused with a sum; and those that ptxas could
# yet fuse. (Products of two floats in double are exact, fused or not.)
products_of_floats() {
  awk '
    { sub(/^[[:space:]]*(@!?%p[0-9]+ )?/, ""); gsub(/[,;]/, " ") }
    /^\.(visible|weak) \.entry/ { kernel = $3; delete product }
    kernel ~ /ProbeKernel/ { next }  # (whose sum has a zero in it)
    $1 == "mul.f32" { product[$2] }
    $1 == "fma.rn.f32" { ++fused[kernel] }
    ($1 == "add.f32" || $1 == "sub.f32") && ($3 in product || $4 in product) { print kernel " may fuse: " $0 }
    END { for (kernel in fused) print kernel, fused[kernel] }' "$1" |
    sort
}
