#!/usr/bin/env bash
#
# Checks a machine with an NVIDIA GPU, and measures it: installs what is missing, runs the tests that need a
# GPU, and then benchmarks/gpu.py: ResNet-18 to ResNet-152 on cv2.dnn, torch and, where it is installed, ONNX
# Runtime. Writes benchmarks/results/gpu.json and gpu.md.
#
# usage: benchmarks/gpu_check.sh [--wheel PATH] [--python PYTHON] [--seconds N]
#
#   --wheel PATH     a wheel of OpenCV with CUDA; default: the newest in dist/. Without one, the cv2 that is
#                    installed is measured, if it has CUDA.
#   --python PYTHON  what to install into and run; default: .venv/bin/python if it exists, else python3
#   --seconds N      for all of it; default: 480. What does not fit is listed as not measured: out of time.
#                    Downloads count: after a first run that had to install much, run it again.
#
# Needs no network where the packages are installed already. A part that is missing is said, and the rest goes
# on. Exit code: 0 tests passed and figures were taken; 1 a test failed, or nothing could be measured, or
# resnet-pipe could not be installed; 2 wrong usage, or no GPU: nothing has been installed or changed.

set -euo pipefail

readonly TESTS_S=150  # they take less than a minute, unless one hangs
readonly CONVERT_S=120
readonly NETWORKS=(resnet50 resnet18 resnet152 resnet34 resnet101)  # as benchmarks/gpu.py takes them
readonly DRIVER_OF_CUDA_13=580  # the first that has it: CUDA 13.0 release notes, table 3

say() { printf '==> %s\n' "$*"; }
missing() { printf 'MISSING: %s\n' "$*" >&2; }
refuse() {
    printf 'gpu_check: %s\n' "$*" >&2
    exit 2
}

usage() {
    local line
    while IFS= read -r line && [[ $line == '#'* ]]; do
        [[ $line == '#!'* ]] || printf '%s\n' "${line:2}"
    done <"${BASH_SOURCE[0]}"
}

# The options, as wheel, python and seconds; cuda is that of the wheel, later. Paths are made absolute: all else
# happens in the root of the checkout.
parse() {
    wheel='' python='' seconds=480 cuda=''
    while (($#)); do
        case $1 in
            -h | --help) usage && exit 0 ;;
            --wheel | --python | --seconds) (($# > 1)) || refuse "$1 needs a value; see --help" ;;
            *) refuse "unknown option $1; see --help" ;;
        esac
        case $1 in
            --wheel) wheel=$2 ;;
            --python) python=$2 ;;
            --seconds) seconds=$2 ;;
        esac
        shift 2
    done
    [[ $seconds =~ ^[1-9][0-9]*$ ]] || refuse "--seconds $seconds is not a number of seconds"
    [[ -z $wheel || -f $wheel ]] || refuse "--wheel $wheel: no such file"
    [[ -z $wheel || $wheel == *.whl ]] || refuse "--wheel $wheel is not a wheel"
    [[ -z $wheel || $wheel == /* ]] || wheel=$PWD/$wheel
    [[ $python != */* || $python == /* ]] || python=$PWD/$python
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
    if [[ -z $python ]]; then
        python=python3
        [[ ! -x .venv/bin/python ]] || python=$PWD/.venv/bin/python
    fi
}

# Leaves with exit code 2 where there is no GPU, before anything is changed.
find_gpu() {
    local told nothing='nothing has been installed'
    command -v nvidia-smi >/dev/null \
        || refuse "no NVIDIA GPU: nvidia-smi is not here (in a container: run it with --gpus all); $nothing"
    told=$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>&1) \
        && [[ -n $told && $told != *"No devices"* ]] \
        || refuse "no NVIDIA GPU: nvidia-smi says: ${told//$'\n'/ }; $nothing"
    say "GPU, driver, memory: $told"
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader)
    command -v "$python" >/dev/null || refuse "no Python: $python; name one with --python"
}

newest_wheel() {
    local file
    for file in dist/opencv_python_headless-*.whl; do
        [[ ! -f $file ]] || [[ -n $wheel && ! $file -nt $wheel ]] || wheel=$PWD/$file
    done
}

has_modules() {
    "$python" -c 'import sys, importlib.util as util; sys.exit(not all(map(util.find_spec, sys.argv[1:])))' \
        "$@" 2>/dev/null
}

has_distribution() {
    "$python" -c 'import sys; from importlib.metadata import version; version(sys.argv[1])' "$1" 2>/dev/null
}

# pip asks the network for nothing that is installed already.
install() { "$python" -m pip install --quiet --disable-pip-version-check --retries 1 "$@"; }

# A wheel first: what is installed later then finds its opencv-python-headless there. Its name says for which CUDA it
# was built. It may bring cuDNN, and that for another CUDA, such as torch's, lies in the same place.
install_wheel() {
    [[ -n $wheel ]] || newest_wheel
    if [[ -z $wheel ]]; then
        missing "a wheel of OpenCV with CUDA: dist/ has none; build one with docker/build-opencv-cuda.sh, or name" \
            "one with --wheel; the cv2 that is installed is taken"
        return
    fi
    say "OpenCV: $(basename -- "$wheel")"
    if [[ $wheel =~ \+cu(12|13) ]]; then cuda=${BASH_REMATCH[1]}; fi
    if [[ -n $cuda ]] && has_distribution "nvidia-cudnn-cu$((25 - cuda))"; then
        missing "cuDNN for CUDA $cuda, which the wheel needs: that for CUDA $((25 - cuda)) is installed, and both" \
            "would lie in the same place; the wheel is not installed. Take an environment without it (--python)," \
            "or a torch for CUDA $cuda"
        cuda=''
        return
    fi
    if [[ $cuda == 13 ]] && ((${driver%%.*} < DRIVER_OF_CUDA_13)); then
        missing "a driver for CUDA 13: this one is ${driver%%$'\n'*}, it takes $DRIVER_OF_CUDA_13 or newer"
    fi
    install "$wheel" || missing "$wheel could not be installed; the cv2 that is installed is taken"
}

# Which of several cv2 is imported is a matter of chance: they lie in the same place.
look_for_other_opencv() {
    local other
    for other in opencv-python opencv-contrib-python opencv-contrib-python-headless; do
        ! has_distribution "$other" \
            || missing "a single OpenCV: $other is installed too, in the same place: pip uninstall $other" \
                "opencv-python-headless, then run this again"
    done
}

# For a wheel that does not bring them itself.
install_cuda_libraries() {
    if [[ -z $cuda ]] || "$python" -c 'import cv2' 2>/dev/null; then return; fi
    if ((cuda == 13)); then
        install nvidia-cudnn-cu13 'nvidia-cublas==13.*' || true
    else
        install nvidia-cudnn-cu12 nvidia-cublas-cu12 || true
    fi
    "$python" -c 'import cv2' || missing "what cv2 needs, see above; it is not measured"
}

install_packages() {
    has_modules numpy cv2 av onnx pyarrow PIL simplejpeg click tqdm pydantic ruamel.yaml \
        || install --editable . || {
        printf 'gpu_check: resnet-pipe cannot be installed into %s; see above\n' "$python" >&2
        exit 1
    }
    if has_modules torch torchvision onnxscript skimage; then
        :
    elif [[ $cuda == 12 ]]; then
        missing "torch for CUDA 12: it is not installed here, because the usual one would put cuDNN for CUDA 13 in" \
            "the place of the wheel's; torch is not measured"
    else
        install --editable '.[convert]' \
            || missing "torch and what converts models; torch is not measured: pip install '.[convert]'"
    fi
    has_modules pynvml || install nvidia-ml-py || missing "nvidia-ml-py: there are no figures of VRAM"
    has_modules skimage || install scikit-image \
        || missing "scikit-image: there are no sample images; nothing is measured from JPEGs"
    has_modules pytest || install pytest || missing "pytest: the tests are left out"
    has_distribution onnxruntime-gpu \
        || missing "onnxruntime-gpu: ONNX Runtime is not measured; it takes the place of onnxruntime, which is why" \
            "this does not install it: pip uninstall onnxruntime; pip install onnxruntime-gpu"
}

convert_models() {
    local name
    for name in "${NETWORKS[@]}"; do
        [[ ! -f models/$name.onnx ]] || continue
        say "converting $name, with random weights: the speed is the same"
        timeout "$CONVERT_S" "$python" -m resnet_pipe convert "$name" --weights random \
            || missing "$name, which could not be converted; it is not measured"
    done
}

run_tests() {
    local files status=0
    mapfile -t files < <(grep -rl --include='test_*.py' 'mark\.gpu' tests)
    has_modules pytest || return 0
    say "tests that need a GPU; what is skipped says why"
    timeout "$TESTS_S" "$python" -m pytest -m gpu -q "${files[@]}" || status=$?
    case $status in
        0) return 0 ;;
        124) printf 'FAILED: the tests did not end within %s s\n' "$TESTS_S" >&2 ;;
        *) printf 'FAILED: the tests, see above\n' >&2 ;;
    esac
    return 1
}

main() {
    local failed=0 left
    parse "$@"
    find_gpu
    export PYTHONPATH=$PWD/pipeline${PYTHONPATH:+:$PYTHONPATH}
    install_wheel
    install_packages
    look_for_other_opencv
    install_cuda_libraries
    convert_models
    run_tests || failed=1
    left=$((seconds - SECONDS - 5))  # for writing the result
    say "measuring, for at most $((left > 0 ? left : 0)) s"
    "$python" -m benchmarks.gpu --seconds $((left > 0 ? left : 0)) || failed=1
    exit "$failed"
}

main "$@"
