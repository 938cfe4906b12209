#!/usr/bin/env bash
# A real S3 server on loopback for tests: Ceph's monitor, one in-memory OSD and its RADOS gateway, from Debian's
# packages, unpacked into a folder (nothing is installed into the system, no service is left behind).
#
#   ceph_rgw.sh fetch DIR               download (about 70 MB) and unpack (about 280 MB) into DIR/root; needs apt, root
#   ceph_rgw.sh up    DIR DATA [PORT]   start on 127.0.0.1:PORT (7480), about 15 s; data live in memory, logs in DATA
#   ceph_rgw.sh down  DATA              stop what `up` started, by its own process ids
#   ceph_rgw.sh serve DIR DATA [PORT]   up, then down when standard input ends, however the program at its end ended
#
# DATA/run/NAME.pid holds the process ids: mon, osd, radosgw. Region us-east-1, path-style requests, plain http.
# Keys: $CEPH_ACCESS_KEY, $CEPH_SECRET_KEY, by default xtlray and xtlray-secret. Session tokens are given out (STS).
set -euo pipefail

fetch() {
  dir=$(realpath -m "${1:?a folder}"); root=$dir/root
  [ -e "$root/.whole" ] && return 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "fetching needs root and apt-get (Debian)" >&2; exit 2; }
  mkdir -p "$dir"
  exec 9> "$dir/lock"; flock 9  # two test runs at once
  [ -e "$root/.whole" ] && return 0
  mkdir -p "$dir/debs/partial" "$root"
  apt=(apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20)
  "${apt[@]}" update >&2
  "${apt[@]}" install -y --download-only --no-install-recommends -o Dir::Cache::archives="$dir/debs" \
    ceph-mon ceph-osd radosgw ceph-common >&2
  for deb in "$dir"/debs/*.deb; do dpkg -x "$deb" "$root"; done
  rm -rf "$dir/debs"
  touch "$root/.whole"
}

configure() {
  rm -rf "$data"; mkdir -p "$data"/{mon,osd,run,log,rgw}
  fsid=$(cat /proc/sys/kernel/random/uuid)
  cat > "$data/ceph.conf" <<C
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$((port + 8820)),v1:127.0.0.1:$((port + 8821))]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000
mon warn on pool no redundancy = false
run dir = $data/run
admin socket = $data/run/\$cluster-\$name.\$pid.asok
log file = $data/log/\$name.log
osd class dir = $lib/rados-classes
plugin dir = $lib/ceph
erasure code dir = $lib/ceph/erasure-code
keyring = $data/keyring
[mon.a]
mon data = $data/mon
[osd.0]
osd data = $data/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd memory target = 1073741824
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw data = $data/rgw
rgw enable usage log = false
rgw thread pool size = 32
rgw s3 auth use sts = true
rgw sts key = 0123456789abcdef
C
  ceph-authtool --create-keyring "$data/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
  ceph-authtool "$data/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' >/dev/null
  ceph-authtool "$data/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *' >/dev/null
  ceph-authtool "$data/keyring" --gen-key -n client.rgw --cap mon 'allow rwx' --cap osd 'allow rwx' >/dev/null
  monmaptool --create --clobber --fsid "$fsid" \
    --addv a "[v2:127.0.0.1:$((port + 8820)),v1:127.0.0.1:$((port + 8821))]" "$data/monmap" >/dev/null
  ceph-mon --mkfs -i a --monmap "$data/monmap" --keyring "$data/keyring"
}

start() {  # start NAME COMMAND...: in the background, in a session of its own
  local name=$1; shift
  setsid "$@" > "$data/log/$name.out" 2>&1 < /dev/null & echo $! > "$data/run/$name.pid"
}

wait_for() {  # wait_for SECONDS NAME COMMAND...: until the command succeeds, or say what did not come up
  local until=$((SECONDS + $1)) name=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    if [ $SECONDS -ge $until ] || ! kill -0 "$(cat "$data/run/$name.pid")" 2>/dev/null; then
      echo "$name did not come up: $(tail -n 1 "$data/log/$name.out"); see $data/log" >&2; exit 1
    fi
    sleep 0.1
  done
}

up() {
  root=$(realpath -m "${1:?a folder}")/root; data=$(realpath -m "${2:?a folder for data}"); port=${3:-7480}
  [ -x "$root/usr/bin/radosgw" ] || { echo "nothing is unpacked there: ceph_rgw.sh fetch ${root%/root}" >&2; exit 2; }
  lib=$(echo "$root"/usr/lib/*-linux-gnu)
  export LD_LIBRARY_PATH=$lib:$lib/ceph:$root/lib/${lib##*/} PATH=$root/usr/bin:$PATH CEPH_CONF=$data/ceph.conf
  configure
  trap 'down "$data"' EXIT
  start mon ceph-mon -f -i a
  wait_for 60 mon grep -q "is new leader" "$data/log/mon.a.log"
  osd_uuid=$(cat /proc/sys/kernel/random/uuid)
  PYTHONPATH=$root/usr/lib/python3/dist-packages /usr/bin/python3 "$root/usr/bin/ceph" osd new "$osd_uuid" 0 >/dev/null
  ceph-osd -i 0 --mkfs --osd-uuid "$osd_uuid" > "$data/log/osd.mkfs" 2>&1
  start osd ceph-osd -f -i 0
  wait_for 60 osd grep -q "booting -> active" "$data/log/osd.0.log"
  start radosgw radosgw -f -n client.rgw
  wait_for 90 radosgw curl -s -o /dev/null "http://127.0.0.1:$port/"
  radosgw-admin -n client.rgw user create --uid=xtlray --display-name=xtlray --caps="user-policy=*" \
    --access-key="${CEPH_ACCESS_KEY:-xtlray}" --secret-key="${CEPH_SECRET_KEY:-xtlray-secret}" \
    > /dev/null 2> "$data/log/user.err"
  trap - EXIT
  echo "http://127.0.0.1:$port"
}

down() {
  local pid file
  for name in radosgw osd mon; do  # the gateway first; one that is stopped or hangs on its lost store is killed
    file=${1:?a folder of data}/run/$name.pid
    [ -f "$file" ] || continue
    pid=$(cat "$file")
    [[ $(cat "/proc/$pid/comm" 2>/dev/null) == *"$name" ]] || continue  # else it is not ours any more
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 15); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$file"
  done
}

serve() {
  up "$@"
  trap '' INT TERM HUP PIPE
  cat > /dev/null
  exec > /dev/null 2>&1  # nobody may be left to read what the shell says of those that it kills
  down "$data"
}

verb=${1:-}
case $verb in fetch | up | down | serve) shift; "$verb" "$@" ;; *) echo "fetch, up, down or serve" >&2; exit 2 ;; esac
