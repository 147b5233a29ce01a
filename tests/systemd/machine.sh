# A Debian 12 that runs systemd as PID 1, in a container by systemd-nspawn; sourced. Needs root, /dev/fuse and systemd-container.
#
# It has its own processes, mounts and cgroups; network and kernel are the host's.

# machine_start ROOT: boots it and waits until systemd has done what there was to do at the start.
machine_start() {
  local root=$1 devices=() device
  for device in /dev/fuse /dev/autofs; do [ ! -e "$device" ] || devices+=(--bind="$device"); done
  systemd-nspawn --quiet --register=no --keep-unit --link-journal=no --machine="glintfs-$$" --directory="$root" \
    "${devices[@]}" --boot </dev/null >"$work/console" 2>&1 &
  machine_pid=$!
  machine_leader=
  wait_for 30 machine_find_leader || { cat "$work/console" >&2; fail "the machine does not start"; }
  wait_for 60 machine_is_up || { tail -n 40 "$work/console" >&2; m systemctl --no-pager list-jobs >&2; fail "the machine does not come up"; }
}

machine_find_leader() {
  local pid
  for pid in $(pgrep -P "$machine_pid"); do
    # The one that is PID 1 in its own namespace, once it has become systemd.
    if grep -qE '^NSpid:.*[[:space:]]1$' "/proc/$pid/status" 2>/dev/null && [ "$(cat "/proc/$pid/comm")" = systemd ]; then
      machine_leader=$pid
      return 0
    fi
  done
  return 1
}

machine_is_up() {
  case $(m systemctl is-system-running 2>/dev/null) in running|degraded) return 0 ;; *) return 1 ;; esac
}

# m COMMAND…: runs it in the machine.
m() {
  nsenter -t "$machine_leader" -m -u -i -n -p -C --wdns=/ -- env -i HOME=/root LANG=C.UTF-8 SYSTEMD_PAGER= SYSTEMD_COLORS=0 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

machine_gone() { ! kill -0 "$machine_pid" 2>/dev/null; }

# machine_stop: shuts it down as poweroff does. Fails when it does not end by itself.
machine_stop() {
  m systemctl poweroff >/dev/null 2>&1 || true
  wait_for 60 machine_gone || return 1
  machine_pid=
}

# For the end, whatever happened.
machine_kill() {
  machine_end_processes
  # systemd-nspawn leaves the two groups that it made beside us.
  local line group
  while IFS=: read -r _ line group; do
    for group in /sys/fs/cgroup{,/systemd,/unified}"$group"/{payload,supervisor}; do
      [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
  done </proc/self/cgroup
}

machine_end_processes() {
  [ -n "${machine_pid-}" ] || return 0
  [ -z "${machine_leader-}" ] || kill -9 "$machine_leader" 2>/dev/null || true
  wait_for 10 machine_gone || kill -9 "$machine_pid" 2>/dev/null || true
  machine_pid=
}

# wait_for SECONDS COMMAND…: until it succeeds.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}
