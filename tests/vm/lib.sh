# shellcheck shell=bash
# What prepare and run share: where the cache is, and which image belongs to this recipe.

vm_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
vm_cache=${XDG_CACHE_HOME:-$HOME/.cache}/state-tests/vm

# What every kernel here is told.
# no_timer_check: on a busy host an emulated timer misses the kernel's test of it, and the kernel panics.
# shellcheck disable=SC2034 # who reads this uses it
kernel_words='console=ttyS0 panic=-1 oops=panic mitigations=off nokaslr no_timer_check'

say() { printf 'vm: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

# 77 is the test runners' word for "not run": what this machine lacks is never a failure of `state`.
cannot() {
  say "$*"
  exit 77
}

# A changed recipe is another image. Only what shapes it is in its digest: neither `run` nor this file.
digest() { (cd "$vm_dir" && find "$@" -type f -exec sha256sum {} + | sort | sha256sum | cut -c1-12); }
modules_digest() { digest build-modules; }
image_digest() { digest build-modules build-image guest; }
machine_digest() { digest build-machine machine; }
machine_zfs_digest() { digest build-modules build-machine build-machine-zfs machine; }

# The newest whole result of this very recipe, or nothing.
newest() { # KIND DIGEST
  local newest="" each
  for each in "$vm_cache/$1"-*-"$2"; do
    [[ -d $each && (-z $newest || $each -nt $newest) ]] && newest=$each
  done
  printf '%s' "$newest"
}
find_image() { newest image "$(image_digest)"; }
find_machine() { newest machine "$(machine_digest)"; }
find_machine_zfs() { newest machine "$(machine_zfs_digest)"; }

# A result appears under its name only when whole: what was interrupted keeps its .part name and is swept later.
publish() {
  sync -f "$1"
  rm -rf "$2"
  mv -T "$1" "$2"
}

# apt-get or apt-cache on lists and sources of our own (prepare writes them); the machine's stay as they are.
private_apt() {
  local tool=$1
  shift
  "$tool" -o Dir::Etc::sourcelist="$vm_cache/apt/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::Etc::preferencesparts="$vm_cache/apt/none" -o Dir::Etc::preferences="${apt_preferences:-/dev/null}" \
    -o Dir::State::lists="$vm_cache/apt/lists" -o Dir::Cache="$vm_cache/apt/cache" \
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o DPkg::Lock::Timeout=300 "$@"
}
