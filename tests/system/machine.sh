# SPDX-License-Identifier: GPL-2.0-or-later
# A virtual machine with systemd as its first process, a kernel of Debian's and a disk, on a copy of tests/system/rootfs: it can
# restart itself, and commands run in it over a serial port. Its network cards are sockets of sender.py.
# Needs $work, a directory, and $top. Sets root, where the disk's files are until there is a disk.
# shellcheck shell=bash
root=$work/root
qemu=''
boots=0

machine_cannot() {
	local tool
	[ "$(id -u)" = 0 ] || { echo "needs root"; return 0; }
	[ "$(uname -m)" = x86_64 ] || { echo "the programs of this machine ($(uname -m)) do not run in an x86_64 guest"; return 0; }
	for tool in qemu-system-x86_64 mke2fs gcc mkfifo; do
		command -v "$tool" >/dev/null || { echo "$tool is missing: tools/setup --test"; return 0; }
	done
	qemu-system-x86_64 -netdev help 2>/dev/null | grep -qx dgram || { echo "this qemu has no network of datagrams"; return 0; }
	return 1
}

# machine_make ROOTFS KERNEL: the files of the disk, in $root, with the kernel's modules and what runs commands.
machine_make() {
	local unit
	mkdir -p "$work/upper" "$work/layer" "$root" &&
		mount -t overlay -o "lowerdir=$1,upperdir=$work/upper,workdir=$work/layer" overlay "$root" || return 1
	kernel=$2
	cp -a "$kernel/lib/modules" "$root/lib/" || return 1
	rm -rf "$root"/usr/share/{doc,locale,man} "$root"/var/lib/apt/lists
	printf '%032d\n' $$ >"$root/etc/machine-id"
	# Linux 6.1 with napi_tx may clean a queue for ever that a restart has taken from it.
	echo "options virtio_net napi_tx=0" >"$root/etc/modprobe.d/virtio_net.conf"
	# Nothing that takes time and is no part of this.
	for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
		getty@tty1.service serial-getty@ttyS0.service dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount \
		sys-kernel-tracing.mount kmod-static-nodes.service modprobe@.service systemd-networkd-wait-online.service \
		systemd-network-generator.service systemd-logind.service systemd-pstore.service systemd-random-seed.service \
		systemd-update-utmp.service; do
		ln -sf /dev/null "$root/etc/systemd/system/$unit"
	done
	machine_agent
	gcc -O1 -static -o "$root/root/witness" "$top/tests/system/witness.c"
}

# unit NAME: a unit of the machine, from standard input, that starts at boot with sysinit.target.
unit() {
	cat >"$root/etc/systemd/system/$1"
	mkdir -p "$root/etc/systemd/system/sysinit.target.wants"
	ln -sf "/etc/systemd/system/$1" "$root/etc/systemd/system/sysinit.target.wants/$1"
}

# Commands come by the second serial port, a line each; what they print is answered, and then their status.
machine_agent() {
	cat >"$root/root/agent" <<'END'
stty -F /dev/ttyS1 raw -echo
exec </dev/ttyS1 >/dev/ttyS1 2>&1
systemctl is-system-running --wait
echo ":ready"
while IFS= read -r line; do
	eval "$line" </dev/null
	printf '\n:%d\n' $?
done
END
	unit agent.service <<'END'
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/bash /root/agent
Environment=LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
END
}

# machine_disk: of what is in $root; that goes.
machine_disk() {
	touch "$root/etc/.updated" "$root/var/.updated"
	mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$root" "$work/disk" 400M && umount "$root"
}

# machine_start CARDS [WORD...]: with so many cards from the start and one more for machine_plug, and words on the kernel's command line.
machine_start() {
	local cards=$1 n options=()
	shift
	for ((n = 0; n <= cards; n++)); do
		options+=(-netdev "dgram,id=net$n,local.type=unix,local.path=$work/guest$n,remote.type=unix,remote.path=$work/peer$n")
		[ "$n" = "$cards" ] || options+=(-device "$(machine_card "$n")")
	done
	[ -z "${agent_in:-}" ] || exec {agent_in}>&- {agent_out}>&- {monitor_in}>&-
	for n in agent monitor; do
		rm -f "$work/$n.in" "$work/$n.out"
		mkfifo "$work/$n.in" "$work/$n.out" || return 1
	done
	: >"$work/witness"
	exec {agent_in}<>"$work/agent.in" {agent_out}<>"$work/agent.out" {monitor_in}<>"$work/monitor.in"
	qemu-system-x86_64 -accel tcg,thread=single -M pc -cpu max -m 512 -smp 1 -nodefaults -display none \
		-serial "file:$work/console" -serial "pipe:$work/agent" -serial "file:$work/witness" -monitor "pipe:$work/monitor" \
		-drive "if=none,id=disk,format=raw,cache=unsafe,file=$work/disk" -device nvme,serial=disk,drive=disk "${options[@]}" \
		-kernel "$kernel/vmlinuz" -append "console=ttyS0 root=/dev/nvme0n1 rw net.ifnames=0 quiet panic=-1 mitigations=off $*" \
		</dev/null >"$work/qemu.log" 2>&1 &
	qemu=$!
}
machine_card() { echo "virtio-net-pci,netdev=net$1,id=card$1,mac=52:54:00:77:00:0$1,romfile="; }
# machine_plug N: one more card while the machine runs.
machine_plug() { echo "device_add $(machine_card "$1")" >&"$monitor_in"; }

# began: how often the machine has begun to start, by the witness.
began() { grep -c '^start' "$work/witness" 2>/dev/null; }
# until_began N: returns when it has begun for the Nth time.
until_began() {
	for _ in $(seq 3000); do
		[ "$(began)" -lt "$1" ] || return 0
		kill -0 "$qemu" 2>/dev/null || return 1
		sleep 0.1
	done
	return 1
}
# until_ready: returns when all that is to start at boot has started or failed.
until_ready() {
	local line
	while IFS= read -r -t 300 line <&"$agent_out"; do
		[ "$line" != ":ready" ] || return 0
	done
	return 1
}

# inside COMMAND...: runs it in the machine.
inside() {
	local line text=''
	printf '%q ' "$@" >&"$agent_in"
	echo >&"$agent_in"
	while IFS= read -r -t 60 line <&"$agent_out"; do
		case $line in
		:[0-9]*) printf '%s' "$text"; return "${line#:}" ;;
		esac
		text+=$line$'\n'
	done
	echo "no answer"
	return 1
}
# restart: asks the machine to.
restart() { echo "systemctl --no-block --job-mode=replace-irreversibly start reboot.target" >&"$agent_in"; }

machine_stop() {
	[ -z "$qemu" ] || { kill -KILL "$qemu"; wait "$qemu"; } 2>/dev/null
	qemu=''
}
machine_remove() {
	machine_stop
	! mountpoint -q "$root" || umount "$root"
}
