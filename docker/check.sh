#!/usr/bin/env bash
# Builds docker/Dockerfile and tries the image, where there is no Docker engine and no registry of images: the base
# is made of Debian's packages, podman takes Docker's place. By hand, after `make run`, which makes the job's model.
#
# usage: docker/check.sh
#
# Needs root, 5 GB of disk, and: apt-get install debootstrap podman runc catatonit. Leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp --directory)
podman() { command podman --root "$work/storage" --runroot "$work/run" --cgroup-manager cgroupfs "$@"; }
step() { printf '\n==> %s\n' "$*"; }
trap 'podman rmi --all --force >/dev/null; podman volume rm --all --force >/dev/null; rm -rf "$work"' EXIT

step "A base like python:3-slim: Debian, a Python, pip; and this machine's certificates, for the index of packages"
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $release" | head -1)
debootstrap --variant=minbase --include=ca-certificates,python-is-python3,python3-pip \
  "$release" "$work/base" "$mirror" >"$work/debootstrap.log" || { tail "$work/debootstrap.log"; exit 1; }
rm -rf "$work"/base/usr/lib/python3*/EXTERNALLY-MANAGED "$work"/base/var/{cache/apt,lib/apt/lists}/*
cp /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/"
tar --directory "$work/base" --create . | podman import --quiet - localhost/python:debian

step "docker/Dockerfile"
podman build --isolation chroot --file docker/Dockerfile --build-arg BASE=localhost/python:debian --tag resnet-pipe:cpu .
podman images

# As docker/compose.yaml has it: without rights, without a network, nothing can be written but the results. The
# limits are podman's own otherwise, which may be above what this machine allows.
run() {
  podman --runtime runc run --rm --ulimit nofile=1024:4096 --ulimit nproc=4096:4096 --init --read-only --tmpfs /tmp \
    --cap-drop all --security-opt no-new-privileges --network none --user 12345:12345 --volume "$PWD/jobs:/jobs:ro" \
    --volume "$PWD/data:/data:ro" --volume "$PWD/models:/models:ro" --volume "$work/out:/out" \
    --volume home:/home/pipe resnet-pipe:cpu "$@"
}
install -d -o 12345 -g 12345 "$work/out"

step "It has its command, and runs a job"
run --version
run run folder.yaml --set infer.engine=openvino
