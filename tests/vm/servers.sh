# shellcheck shell=bash disable=SC2154 # who reads this has set them
# Servers on this machine's loopback, which a guest with `run --network` reaches as 10.0.2.2.

servers=()
stop_servers() { [[ ${#servers[@]} == 0 ]] || kill "${servers[@]}" || :; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

wait_for() { # PORT WHO
  for _ in {1..600}; do
    (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
    sleep 0.1
  done
  die "$2 does not listen"
}

# An ssh server that gives root sftp and git, with keys of its own in $work/ssh.
start_sshd() {
  local dir=$work/ssh name
  mkdir -p "$dir" /run/sshd
  for name in host key; do ssh-keygen -q -t ed25519 -N '' -C "$name of a test" -f "$dir/$name"; done
  ssh_port=$(free_port)
  echo "[10.0.2.2]:$ssh_port $(cut -d' ' -f1,2 "$dir/host.pub")" >"$dir/known_hosts"
  cp "$dir/key.pub" "$dir/authorized_keys"
  printf '%s\n' "Port $ssh_port" 'ListenAddress 127.0.0.1' "HostKey $dir/host" "AuthorizedKeysFile $dir/authorized_keys" 'StrictModes no' \
    'UsePAM no' 'PasswordAuthentication no' 'PermitRootLogin yes' 'PidFile none' 'Subsystem sftp internal-sftp' >"$dir/config"
  /usr/sbin/sshd -D -E "$dir/log" -f "$dir/config" </dev/null &
  servers+=($!)
  wait_for "$ssh_port" sshd
}

# An object store with the bucket `bkt`. Who may do what is not asked here: the tier `servers` does.
start_moto() {
  local program=${STATE_TEST_MOTO:-$top/target/moto/bin/moto_server}
  [[ -x $program ]] || cannot "there is no moto_server: STATE_TEST_MOTO names it, \`tests/run servers\` installs it"
  moto_port=$(free_port)
  "$program" -H 127.0.0.1 -p "$moto_port" </dev/null >"$work/moto.log" 2>&1 &
  servers+=($!)
  wait_for "$moto_port" moto
  python3 -c 'import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], method="PUT"))' "http://127.0.0.1:$moto_port/bkt"
}
