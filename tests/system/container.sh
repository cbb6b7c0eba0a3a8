# SPDX-License-Identifier: GPL-2.0-or-later
# A disposable container with systemd as its first process, on an overlay over tests/system/rootfs: its network namespace
# has a neighbour, its bpffs and cgroup are its own. It can be booted again, with a new /run and a new bpffs, as a machine.
# Needs $work, a directory. Sets host and peer, the network namespaces: v0 10.77.0.1, fd77::1 and v1 10.77.0.2, fd77::2.
# shellcheck shell=bash
# Cgroups are the machine's, and process ids those of a sandbox: another run has the same.
box=${work:?} box=merlon-${box##*.}
host=$box-h peer=$box-p
root=$work/root
nspawn='' leader=''
# What of the cgroup hierarchies the container gets a part of.
cgroups=()
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
	[ ! -f "$hierarchy/cgroup.procs" ] || cgroups+=("$hierarchy/$box")
done

container_cannot() {
	[ "$(id -u)" = 0 ] || { echo "needs root"; return 0; }
	command -v systemd-nspawn >/dev/null || { echo "systemd-nspawn is missing: tools/setup --test"; return 0; }
	[ ${#cgroups[@]} -gt 0 ] || { echo "there is no cgroup hierarchy"; return 0; }
	return 1
}

# container_make ROOTFS: layers and network, nothing runs yet.
container_make() {
	mkdir -p "$work/upper" "$work/layer" "$root" "$work/bpf" &&
		mount -t overlay -o "lowerdir=$1,upperdir=$work/upper,workdir=$work/layer" overlay "$root" &&
		ip netns add "$host" && ip netns add "$peer" &&
		ip link add v0 netns "$host" type veth peer name v1 netns "$peer" || return 1
	nsenter --net="/run/netns/$host" sh -c 'ip link set lo up; ip addr add 10.77.0.1/24 dev v0
		ip addr add fd77::1/64 dev v0 nodad; ip link set v0 up'
	nsenter --net="/run/netns/$peer" sh -c 'ip link set lo up; ip addr add 10.77.0.2/24 dev v1
		ip addr add fd77::2/64 dev v1 nodad; ip link set v1 up'
	# Known before, or the first boot would ask.
	printf '%032d\n' $$ >"$root/etc/machine-id"
	# The network is there, and is the test's.
	ln -sf /dev/null "$root/etc/systemd/system/systemd-networkd.service"
}

# container_boot [INIT-ARGUMENT...]: returns when what is to start at boot has started.
container_boot() {
	local cgroup child
	mount -t bpf -o mode=0700 bpf "$work/bpf" || return 1
	for cgroup in "${cgroups[@]}"; do mkdir -p "$cgroup" || return 1; done
	(
		for cgroup in "${cgroups[@]}"; do echo $BASHPID >"$cgroup/cgroup.procs"; done
		export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
		exec systemd-nspawn --quiet --directory="$root" --machine="$box" --boot --register=no --keep-unit \
			--network-namespace-path="/run/netns/$host" --capability=all \
			--system-call-filter='bpf perf_event_open @keyring' --console=pipe --resolv-conf=off --timezone=off \
			--link-journal=no --bind="$work/bpf:/sys/fs/bpf" "$@" </dev/null
	) >>"$work/console" 2>&1 &
	nspawn=$!
	for _ in $(seq 600); do
		# The first process in there is in a process namespace of its own: its last number is 1.
		for child in $(cat "/proc/$nspawn/task/$nspawn/children" 2>/dev/null); do
			[ "$(awk '/^NSpid:/ { print $NF }' "/proc/$child/status" 2>/dev/null)" != 1 ] || leader=$child
		done
		[ -z "$leader" ] || case $(inside systemctl is-system-running 2>/dev/null) in running | degraded) return 0 ;; esac
		kill -0 "$nspawn" 2>/dev/null || return 1
		sleep 0.1
	done
	return 1
}

# inside COMMAND...: runs it in the container.
inside() {
	nsenter -t "$leader" -m -u -i -n -p -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# container_halt: as a machine that is switched off.
container_halt() {
	local cgroup
	if [ -n "$nspawn" ]; then
		kill -s KILL "$leader" 2>/dev/null || kill -s KILL "$nspawn" 2>/dev/null
		wait "$nspawn" 2>/dev/null
	fi
	nspawn='' leader=''
	# What filters goes with the machine, whoever else has a copy of this mount.
	rm -rf "$work"/bpf/merlon*
	nsenter --net="/run/netns/$host" tc qdisc del dev v0 clsact 2>/dev/null
	! mountpoint -q "$work/bpf" || umount "$work/bpf"
	for cgroup in "${cgroups[@]}"; do
		[ ! -d "$cgroup" ] || find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
	done
}

container_remove() {
	container_halt
	ip netns del "$host" 2>/dev/null
	ip netns del "$peer" 2>/dev/null
	! mountpoint -q "$root" || umount "$root"
}
