# What ./dev cuda does, which reads this file: builds by nvcc alone, since the machines with a GPU that one can borrow have
# neither a network nor our packages; then tests, benchmarks and sanitizers, in an order that leaves most if time ends.
# Whatever fails, the rest runs. BITNET_CUDA_SECONDS: how long all of it may take.

# What is built into build/cuda, what takes longest first: TARGET NVCC-ARGUMENT...
cuda_targets() {
  local part scheme name source tests=tests/cuda/device
  for part in Test{Other,Some,Few}Products Test{Other,Some}{Attention,TokenOperations}; do
    echo "conformance_$part $tests/conformance_test.cu build/cuda/main.o -O1 -DBITNET_PART=$part"
  done
  for scheme in A48 A48Fp4 B158 Fp32 testing::{Mixed,Int8Edges,Rotated}; do
    echo "model_${scheme#testing::} $tests/model_test.cu build/cuda/main.o -O1 -DBITNET_SCHEME=$scheme"
  done
  # The bits are the same where multiply-adds are not fused.
  for scheme in A48 Fp32; do
    echo "model_${scheme}_unfused $tests/model_test.cu build/cuda/main.o -O1 -DBITNET_SCHEME=$scheme -fmad=false"
  done
  for name in repeat real_shapes device lost; do echo "$name $tests/${name}_test.cu build/cuda/main.o -O1"; done
  echo "fast_math $tests/fast_math_test.cu -O1 -use_fast_math"
  for source in benchmarks/cuda/*.cu; do
    name=${source##*/}
    echo "bench_${name%.cu}.o $source -c -O3"
  done
}
cuda_tests() { cuda_targets | sed '/^bench_/d; s/ .*//'; }
# What sanitizers look at: every kernel of the library's own schemes and formats, on little. TEST ARGUMENT...
cuda_sanitized() {
  local scheme
  echo device
  for scheme in A48 B158 Fp32 Mixed Rotated; do echo "model_$scheme --test-case=*reference"; done
  printf 'conformance_Test%s\n' SomeTokenOperations FewProducts SomeAttention
}

# cuda_nvcc TARGET NVCC-ARGUMENT...: with $cuda_flags; says how long it took.
cuda_nvcc() {
  local start=$SECONDS
  # shellcheck disable=SC2086  # flags, none of which has a space
  nvcc -std=c++20 -I . -I include -I tests $cuda_flags -DBITNET_SOURCE_DIR="\"$PWD\"" -o "build/cuda/$1" "${@:2}" &&
    echo "$1: $((SECONDS - start)) s"
}

# Whether nvcc finds a header.
cuda_has() {
  echo "#include <$1>" >build/cuda/header.cu
  nvcc -E build/cuda/header.cu >/dev/null 2>&1
}

# cuda_build FLAG...
cuda_build() {
  local status=0 toolkit header library cublas=(-lcublas -lcublasLt)
  export cuda_flags=$*
  if [[ -e build/deps/usr/include/doctest/doctest.h ]]; then  # (./dev setup has fetched it.)
    cuda_flags+=" -isystem build/deps/usr/include"
  elif ! cuda_has doctest/doctest.h; then
    cuda_flags+=" -I tests/testing/doctest_stub"
  fi
  # cuBLAS is the toolkit's; or, where only its compiler is installed, of the Python packages.
  toolkit=$(dirname "$(readlink -f "$(command -v nvcc)")")/..
  if cuda_has cublasLt.h; then
    cublas+=("-Xlinker=-rpath=$toolkit/lib64")
  elif header=$(find / -name cublasLt.h -print -quit 2>/dev/null) && [[ -n $header ]] &&
    library=$(find / -name 'libcublasLt.so*' -print -quit 2>/dev/null) && [[ -n $library ]]; then
    cuda_flags+=" -I ${header%/*}"
    # (nvcc does not take libraries that end with a version.)
    cublas=(-Xlinker=--no-as-needed "-Xlinker=$(find "${library%/*}" -name 'libcublas.so*' -print -quit)"
      "-Xlinker=$library" "-Xlinker=-rpath=${library%/*}")
  fi
  export -f cuda_nvcc
  cuda_nvcc main.o -c -O1 tests/cuda/device/main.cu || return 1
  # shellcheck disable=SC2016
  cuda_targets | xargs -P "$(jobs)" -L 1 bash -c 'cuda_nvcc "$@"' cuda || status=1
  nvcc build/cuda/bench_*.o "${cublas[@]}" -o build/cuda/cuda_bench || status=1
  return $status
}

# cuda_run_one PROGRAM ARGUMENT...: what it says goes to a log; here a line, and what was wrong.
cuda_run_one() {
  local log=build/logs/$cuda_stage-$1.log start=$SECONDS status=0
  # shellcheck disable=SC2086  # a command and its flags
  timeout "$cuda_seconds" $cuda_command "build/cuda/$1" "${@:2}" >"$log" 2>&1 || status=$?
  if ((status == 0)); then
    echo "$1: well, $((SECONDS - start)) s"
  elif ((status == 124)) && [[ -n $cuda_command ]]; then
    echo "$1: nothing found in $cuda_seconds s, when its time ended"
  else
    echo "$1: FAILED with $status after $((SECONDS - start)) s, see $log"
    grep -m 5 'FAILED\|ERROR\|^========= .*[Ee]rror\|hazard' "$log" || tail -n 5 "$log"
    return 1
  fi
}
# cuda_run STAGE SECONDS JOBS [COMMAND]: each program of the input, PROGRAM ARGUMENT..., by COMMAND if there is one; so
# many at a time, and so long each.
cuda_run() {
  export cuda_stage=$1 cuda_seconds=$2 cuda_command=${4:-}
  export -f cuda_run_one
  # shellcheck disable=SC2016
  xargs -P "$3" -L 1 bash -c 'cuda_run_one "$@"' cuda
}
cuda_run_tests() { cuda_tests | cuda_run cuda-tests "$1" 6; }
# cuda_sanitize TOOL SECONDS FLAG...
cuda_sanitize() {
  cuda_sanitized | cuda_run "cuda-$1" "$2" 9 "compute-sanitizer --tool $1 --error-exitcode 9 ${*:3}"
}

on_gpu() {
  local build_only=$1 architecture failed=() end=$((SECONDS + ${BITNET_CUDA_SECONDS:-540}))
  # left MOST: seconds that are left, but for so many at most.
  left() { local n=$((end - SECONDS)); echo $((n > $1 ? $1 : n > 1 ? n : 1)); }
  mkdir -p build/cuda build/logs docs/data
  rm -f build/cuda/*
  quietly cuda-gpu "looking for a GPU" nvcc -std=c++20 -I include tests/cuda/device/which_gpu.cu -o build/cuda/which_gpu
  if ! architecture=$(build/cuda/which_gpu 2>&1); then
    [[ $build_only == yes ]] || die "$architecture"
    architecture=sm_90a
  fi
  if [[ $build_only == yes ]]; then
    quietly cuda-build "building for $architecture" cuda_build "-arch=$architecture" -Werror all-warnings
    return
  fi
  attempt cuda-build "building for $architecture" cuda_build "-arch=$architecture" || failed+=(build)
  attempt cuda-tests "testing" cuda_run_tests "$(left 120)" || failed+=(tests)
  attempt cuda-bench "measuring" timeout "$(left 240)" build/cuda/cuda_bench --json docs/data/cuda.json ||
    failed+=(benchmarks)
  sed -n '/ at least /p; /WRONG/p; / targets missed$/p' build/logs/cuda-bench.log
  if have compute-sanitizer; then
    attempt cuda-memcheck "looking for wrong accesses" cuda_sanitize memcheck "$(left 60)" --report-api-errors no ||
      failed+=(memcheck)
    attempt cuda-racecheck "looking for races" cuda_sanitize racecheck "$(left 60)" || failed+=(racecheck)
  else
    say "There is no compute-sanitizer here."
  fi
  ((${#failed[@]} == 0)) || die "Failed: ${failed[*]}. The logs are build/logs/cuda-*.log."
  say "All is well; the numbers are in docs/data/cuda.json."
}
