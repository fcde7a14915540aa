#!/bin/bash
# Boot a real systemd (PID 1) in a throw-away copy-on-write view of this machine, and run one program as root in it.
#
#   boot.sh [options] -- PROGRAM [ARG...]
#     --method nspawn|unshare|qemu
#                         nspawn  (default) needs Debian's systemd-container; 0.5 s
#                         unshare needs nothing but util-linux; 0.5 s
#                         qemu    a full VM by software emulation (no KVM); 10-15 s, own kernel, and so the
#                                 cgroup v2 controllers (memory, pids, cpu) that a v1/hybrid host withholds
#     --bind-ro SRC:DST   show a host path read-only (all of / is there already, except separate mounts and
#                         /tmp /var/tmp /run /dev /proc /sys)
#     --out DIR           host directory, read-write as /ci-out inside (default: $SYSD_WORK/out)
#     --timeout SECONDS   for boot and program together (default 300)
#     --install           apt-get what the method lacks
#
# Inside, PROGRAM finds CI_METHOD and CI_BOOT (1, 2, ...). Exit status 200 means "reboot and run me again"
# (nspawn only; the copy-on-write layer survives). Otherwise its status becomes this script's.
# 124: timed out. 125: nothing could be booted. In --out: program.log journal.log failed-units.log console.log
# /.dockerenv and the machine's own units are taken out of the view; nspawn has to be told of landlock and keyrings.
#
# Host side: one directory under $SYSD_WORK, one cgroup; both removed again. Mounts live in a private
# namespace; the network is an empty namespace (loopback). Only processes in that cgroup are ever killed.
set -u -o pipefail
die() { echo "boot: $*" >&2; exit 125; }

kernel_dir() { echo "${SYSD_WORK:-/tmp/sysd}/kernel"; }

install_for() {   # $1: method
  export DEBIAN_FRONTEND=noninteractive
  local apt="apt-get -qq -o Acquire::Retries=3" k d
  $apt update >/dev/null || die "apt-get update failed"
  case $1 in
    nspawn)  $apt install -y --no-install-recommends systemd systemd-sysv dbus systemd-container >/dev/null || die "apt-get install";;
    unshare) $apt install -y --no-install-recommends systemd systemd-sysv dbus iproute2 >/dev/null || die "apt-get install";;
    qemu)
      $apt install -y --no-install-recommends systemd systemd-sysv dbus iproute2 qemu-system-x86 busybox-static >/dev/null || die "apt-get install"
      d=$(kernel_dir)
      if [ ! -e "$d/ok" ]; then   # unpacked, never installed: no initramfs, no boot loader hooks
        k=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*-amd64\)$/\1/p' | head -1)
        [ -n "$k" ] || die "no linux-image-amd64 in the package lists"
        rm -rf "$d"; mkdir -p "$d"; (cd "$d" && apt-get -qq -o Acquire::Retries=3 -o APT::Sandbox::User=root download "$k" && dpkg -x ./*.deb . && rm -f ./*.deb && touch ok) || die "kernel package"
      fi;;
  esac
}

if [ "${1:-}" != --stage2 ]; then
  # ================================================================== stage 1: on the host
  METHOD=nspawn LIMIT=300 OUT= INSTALL=0 BINDS=()
  while [ $# -gt 0 ]; do case $1 in
    --method) METHOD=$2; shift 2;;
    --bind-ro) BINDS+=("$2"); shift 2;; --out) OUT=$2; shift 2;;
    --timeout) LIMIT=$2; shift 2;;   --install) INSTALL=1; shift;;
    --) shift; break;;               *) die "unknown option $1";;
  esac; done
  [ $# -gt 0 ] || die "no program given"
  [ "$(id -u)" = 0 ] || die "needs root"
  case $METHOD in nspawn) need=systemd-nspawn;; unshare) need=unshare;; qemu) need=qemu-system-x86_64;; *) die "method $METHOD?";; esac
  if ! command -v $need >/dev/null || [ ! -x /lib/systemd/systemd ] || { [ $METHOD = qemu ] && [ ! -e "$(kernel_dir)/ok" ]; }; then
    [ $INSTALL = 1 ] || die "$need, systemd or the kernel is missing (--install)"
    install_for $METHOD
  fi
  WORK=${SYSD_WORK:-/tmp/sysd}; mkdir -p "$WORK"
  RUN=$(mktemp -d "$WORK/boot.XXXXXX") || die "no $WORK"
  NAME=rexecd-test-$(basename "$RUN" | tr -dc 'a-zA-Z0-9')
  OUT=${OUT:-$WORK/out}; mkdir -p "$OUT" "$RUN/fs"; OUT=$(realpath "$OUT")
  rm -f "$OUT"/{exit-status,program.log,journal.log,failed-units.log,console.log}
  printf '%s\0' "$@" > "$RUN/argv"
  printf '%s\n' ${BINDS[@]+"${BINDS[@]}"} > "$RUN/binds"
  if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then V2=/sys/fs/cgroup            # pure v2 host
  elif [ "$(stat -fc %T /sys/fs/cgroup/unified 2>/dev/null)" = cgroup2fs ]; then V2=/sys/fs/cgroup/unified   # hybrid
  else V2=; fi
  cleanup() {
    trap - EXIT
    if [ -n "$V2" ] && [ -d "$V2/$NAME" ]; then
      echo 1 > "$V2/$NAME/cgroup.kill" 2>/dev/null    # exactly what this script started, double forks and all
      for _ in $(seq 200); do grep -q 'populated 0' "$V2/$NAME/cgroup.events" 2>/dev/null && break; sleep 0.02; done
      find "$V2/$NAME" -depth -type d -exec rmdir {} \; 2>/dev/null
    fi
    rm -rf --one-file-system "$RUN"
  }
  trap cleanup EXIT; trap 'exit 130' INT; trap 'exit 143' TERM HUP
  export RUN NAME OUT V2 METHOD
  export KDIR=$(kernel_dir)
  ns=(--mount --net --propagation private)
  [ $METHOD = unshare ] && ns+=(--pid --fork --ipc --uts --kill-child=KILL)
  timeout -k 15 "$LIMIT" unshare "${ns[@]}" bash "$0" --stage2 </dev/null >"$OUT/console.log" 2>&1 &
  wait $!; rc=$?
  [ -f "$OUT/program.log" ] && cat "$OUT/program.log"
  if [ -s "$OUT/exit-status" ]; then rc=$(cat "$OUT/exit-status")
  elif [ $rc = 124 ] || [ $rc = 137 ]; then rc=124; echo "boot: timed out after $LIMIT s; console:" >&2; tail -25 "$OUT/console.log" >&2
  else echo "boot: nothing came back (rc $rc); console:" >&2; tail -40 "$OUT/console.log" >&2; rc=125; fi
  exit "$rc"
fi

# ==================================================================== stage 2: private mount namespace
set -e
FS=$RUN/fs
mount -t tmpfs -o mode=755 tmpfs "$FS"; mkdir "$FS"/{up,wk,root,ro,ird}
mkdir -p /run/systemd; mount -t tmpfs -o mode=755 tmpfs /run/systemd      # nspawn's own state: ours alone
if [ -n "$V2" ]; then   # $NAME/sh: this shell; $NAME/box: the booted system (v2: no processes in inner nodes)
  mkdir "$V2/$NAME" "$V2/$NAME/sh" "$V2/$NAME/box"; echo 0 > "$V2/$NAME/sh/cgroup.procs"
  for c in memory pids cpu io; do   # only a pure v2 host has any to pass on (there: also tests the limits)
    [ "$V2" = /sys/fs/cgroup ] && echo +$c > "$V2/cgroup.subtree_control" 2>/dev/null || :
    echo +$c > "$V2/$NAME/cgroup.subtree_control" 2>/dev/null || :
  done
fi
box() { [ -z "$V2" ] || echo 0 > "$BOX/cgroup.procs"; exec "$@"; }

populate() {      # $1: where the changes to the tree go
  local R=$1 u
  mkdir -p "$R"/etc/systemd/{system,journald.conf.d,system.conf.d} "$R"/{ci,ci-out}
  tr -d - < /proc/sys/kernel/random/uuid > "$R/etc/machine-id"
  : > "$R/etc/fstab"
  for u in systemd-resolved systemd-networkd systemd-timesyncd systemd-firstboot systemd-logind systemd-udevd \
           systemd-udev-trigger systemd-update-utmp systemd-update-utmp-runlevel console-getty; do
    ln -sfn /dev/null "$R/etc/systemd/system/$u.service"; done
  printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' > "$R/etc/systemd/journald.conf.d/00-ci.conf"
  printf '[Manager]\nDefaultTimeoutStopSec=10s\nStatusUnitFormat=name\n' > "$R/etc/systemd/system.conf.d/00-ci.conf"
  rm -f "$R/ci/boots"; cp "$RUN/argv" "$R/ci/argv"
  cat > "$R/ci/run" <<'RUNEOF'
#!/bin/bash
n=$(( $(cat /ci/boots 2>/dev/null || echo 0) + 1 )); echo $n > /ci/boots
export CI_BOOT=$n
mapfile -d '' -t argv < /ci/argv
"${argv[@]}" >> /ci-out/program.log 2>&1 < /dev/null; rc=$?
journalctl -b --no-pager -o short-monotonic >> /ci-out/journal.log 2>&1
systemctl --failed --no-legend --plain > /ci-out/failed-units.log 2>&1
if [ $rc = 200 ] && [ $n -lt 5 ]; then exec systemctl --no-block reboot; fi
echo $rc > /ci-out/.st; mv /ci-out/.st /ci-out/exit-status
[ "$CI_METHOD" = qemu ] && exec systemctl --force --force poweroff
exec systemctl --no-block --force exit 0
RUNEOF
  chmod 755 "$R/ci/run"
  cat > "$R/etc/systemd/system/ci-run.service" <<UNITEOF
[Unit]
Description=CI test program
Requires=basic.target dbus.socket
After=basic.target dbus.socket multi-user.target
[Service]
Type=exec
ExecStart=/ci/run
Environment=CI_METHOD=$METHOD HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
TimeoutStopSec=5s
UNITEOF
  # multi-user.target is really reached, so that "enable" + reboot can be tested; getty and logins are not
  printf '[Unit]\nDescription=CI\nRequires=basic.target multi-user.target\nWants=ci-run.service\nAfter=basic.target multi-user.target\n' \
    > "$R/etc/systemd/system/ci.target"
  ln -sfn /dev/null "$R/etc/systemd/system/getty.target"; ln -sfn /dev/null "$R/etc/systemd/system/systemd-user-sessions.service"
}
ARGS=(systemd.unit=ci.target systemd.show_status=true systemd.unified_cgroup_hierarchy=1)

# -------------------------------------------------------------------- qemu
if [ "$METHOD" = qemu ]; then
  K=$(ls "$KDIR"/boot/vmlinuz-* | head -1); M=$(echo "$KDIR"/lib/modules/*/kernel); I=$FS/ird
  mount --bind / "$FS/ro"; mount -o remount,bind,ro "$FS/ro"
  mkdir -p "$I"/{bin,mod,proc,dev,lo,rw,r,add}; cp "$(command -v busybox)" "$I/bin/busybox"
  for m in drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_legacy_dev \
           drivers/virtio/virtio_pci_modern_dev drivers/virtio/virtio_pci fs/netfs/netfs fs/fscache/fscache \
           net/9p/9pnet net/9p/9pnet_virtio fs/9p/9p fs/overlayfs/overlay; do
    [ -e "$M/$m.ko" ] && cp "$M/$m.ko" "$I/mod/" && echo "${m##*/}" >> "$I/mod/order"; done
  populate "$I/add"
  dev=() bm= i=0
  share() { dev+=(-fsdev "local,id=f$1,path=$2,security_model=$3,multidevs=remap${4:-}" -device "virtio-9p-pci,fsdev=f$1,mount_tag=$1"); }
  share root "$FS/ro" passthrough ,readonly=on; share out "$OUT" none
  while IFS= read -r x; do [ -n "$x" ] || continue; i=$((i+1)); share "b$i" "${x%%:*}" passthrough ,readonly=on
    bm+="\$b mkdir -p '/r/${x#*:}'; \$b mount -t 9p -o ro,\$o,cache=loose b$i '/r/${x#*:}'"$'\n'; done < "$RUN/binds"
  cat > "$I/init" <<EOF3
#!/bin/busybox sh
b=/bin/busybox; o=trans=virtio,version=9p2000.L,msize=512000
\$b mount -t devtmpfs dev /dev; \$b mount -t proc proc /proc
for m in \$(\$b cat /mod/order); do \$b insmod /mod/\$m.ko; done
\$b mount -t 9p -o ro,\$o,cache=loose root /lo || \$b poweroff -f
\$b mount -t tmpfs -o mode=755,size=75% tmpfs /rw; \$b mkdir /rw/u /rw/w
\$b mount -t overlay overlay -o lowerdir=/lo,upperdir=/rw/u,workdir=/rw/w /r || \$b poweroff -f
# the host's /tmp must not be cleaned entry by entry by systemd-tmpfiles
for t in tmp var/tmp run; do \$b mount -t tmpfs -o mode=1777 tmpfs /r/\$t; done; \$b chmod 755 /r/run
# a /.dockerenv makes systemd believe in a container and ignore the kernel command line
\$b rm -rf /r/.dockerenv /r/etc/systemd/system/*.wants /r/etc/systemd/system/*.requires
\$b cp -a /add/. /r/
\$b mount -t 9p -o rw,\$o,cache=none out /r/ci-out || \$b poweroff -f
$bm
\$b mount --move /dev /r/dev; \$b umount /proc
exec \$b switch_root /r /lib/systemd/systemd "\$@"
EOF3
  chmod 755 "$I/init"; (cd "$I"; find . | busybox cpio -o -H newc 2>/dev/null) > "$FS/ird.cpio"
  exec qemu-system-x86_64 -accel tcg,thread=multi -machine q35 -cpu max -smp "$(nproc)" -m "${SYSD_VM_MB:-2048}" -nodefaults \
    -no-reboot -display none -monitor none -serial stdio -kernel "$K" -initrd "$FS/ird.cpio" "${dev[@]}" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off audit=0 ${ARGS[*]}"
fi

# -------------------------------------------------------------------- nspawn, unshare
R=$FS/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$FS/up,workdir=$FS/wk" "$R"
rm -rf "$R"/etc/systemd/system/*.wants "$R"/etc/systemd/system/*.requires "$R/etc/resolv.conf" "$R/.dockerenv"
populate "$R"
# hide the v1 hierarchies from this namespace only: the inner systemd sees a pure v2 machine
[ "$V2" = /sys/fs/cgroup ] || { umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; }
BOX=/sys/fs/cgroup/$NAME/box

if [ "$METHOD" = nspawn ]; then
  b=(); while IFS= read -r x; do [ -n "$x" ] && b+=("--bind-ro=$x"); done < "$RUN/binds"
  while :; do
    set +e
    (box systemd-nspawn --quiet --directory="$R" --machine="$NAME" --boot --register=no --keep-unit --private-network \
      --link-journal=no --timezone=off --resolv-conf=off --console=read-only \
      --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self @keyring" \
      --bind="$OUT:/ci-out" ${b[@]+"${b[@]}"} "${ARGS[@]}")
    rc=$?
    [ $rc = 133 ] || exit $rc        # 133: the container asked for a reboot
  done
fi

# unshare: by hand what nspawn does (already in new pid, ipc, uts, net and mount namespaces)
echo "$NAME" > /proc/sys/kernel/hostname; ip link set lo up 2>/dev/null || :
while IFS= read -r x; do [ -n "$x" ] || continue; mkdir -p "$R/${x#*:}"; mount --bind "${x%%:*}" "$R/${x#*:}"; mount -o remount,bind,ro "$R/${x#*:}"; done < "$RUN/binds"
mount --bind "$OUT" "$R/ci-out"
[ -z "$V2" ] || echo 0 > "$BOX/cgroup.procs"
exec unshare --cgroup --mount --propagation private bash -euc '
R=$1; shift
mount -t proc -o nosuid,nodev,noexec proc "$R/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$R/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$R/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid tmpfs "$R/dev"; mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$R/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$R/tmp"
# own nodes, not binds of the host devtmpfs: nothing in there can chmod the host /dev/null
for n in null:3 zero:5 full:7 random:8 urandom:9 console:3; do mknod -m 666 "$R/dev/${n%:*}" c 1 ${n#*:}; done
mknod -m 666 "$R/dev/tty" c 5 0
mkdir "$R/dev/pts" "$R/dev/shm" "$R/oldroot"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$R/dev/pts"; ln -s pts/ptmx "$R/dev/ptmx"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$R/dev/shm"
ln -s /proc/self/fd "$R/dev/fd"; for i in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/${i%:*} "$R/dev/${i#*:}"; done
mount --bind "$R/proc/sys" "$R/proc/sys"; mount -o remount,bind,ro "$R/proc/sys"
[ ! -e "$R/proc/sysrq-trigger" ] || mount --bind /dev/null "$R/proc/sysrq-trigger"
mkdir -p "$R/run/systemd"; echo lxc > "$R/run/systemd/container"
# PID 1 expects a shared root (a container manager must provide it): LoadCredential= mounts depend on it
cd "$R"; pivot_root . oldroot
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  setpriv --bounding-set -sys_module,-sys_rawio,-sys_time,-mac_admin,-mac_override,-syslog,-wake_alarm,-block_suspend \
  bash -c "umount -l /oldroot; mount --make-rshared /; exec /lib/systemd/systemd --system --log-target=journal \"\$@\"" bash "$@"
' bash "$R" "${ARGS[@]}"
