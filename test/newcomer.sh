#!/usr/bin/env bash
# The sessions of the README, as a newcomer has them: a fresh clone of what is committed, one
# command, and the mosquitto clients on MQTT 3.1, 3.1.1 and 5; then why a device went silent and
# what makes it safe, command by command as it is written there. Needs go, git, curl and mosquitto-clients.
set -euo pipefail
set -m # each job in a process group of its own, as in a terminal
root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
work=$(mktemp -d)
export SAPWOOD_OVERLOAD_LAG_CONNECTS=0s SAPWOOD_OVERLOAD_LAG_QOS0=0s # that this machine is slow is no overload of the broker

cleanup() {
  local pid
  for pid in $(jobs -pr); do kill -KILL -- "-$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap cleanup EXIT

fail() {
  printf 'newcomer: %s\n' "$*" >&2
  head -n 50 "$work"/*.out >&2
  exit 1
}

# until_true SECONDS COMMAND... repeats the command until it succeeds.
until_true() {
  local end=$(($(date +%s) + $1))
  shift
  until "$@"; do
    [ "$(date +%s)" -lt "$end" ] || return 1
    sleep 0.05
  done
}

in_readme() { grep -qF -- "$1" "$work/sapwood/README.md" || fail "the README does not say: $1"; }

git clone --quiet "file://$root" "$work/sapwood"
cd "$work/sapwood"
in_readme 'go run ./cmd/sapwood serve'
in_readme "mosquitto_sub -t '#' -v"
in_readme 'mosquitto_pub -t '
in_readme 'go test ./...'

# The defaults, unless something on this machine has their ports.
address=() port=1883
if (exec 3<>/dev/tcp/127.0.0.1/1883) 2>/dev/null || (exec 3<>/dev/tcp/127.0.0.1/8083) 2>/dev/null; then
  echo 'port 1883 or 8083 is taken here; using free ones'
  address=(--mqtt 127.0.0.1:0 --http 127.0.0.1:0)
fi

# ready OUT waits until the broker says that it is, and sets port.
ready() {
  until_true 600 grep -q 'mqtt://' "$1" || fail 'it never said where it listens'
  port=$(sed -n 's|.*mqtt://127.0.0.1:\([0-9]*\).*|\1|p' "$1" | head -n 1)
}

# exchange VERSION sends one message and expects it back.
exchange() {
  local out="$work/sub-$1.out" sub
  stdbuf -oL mosquitto_sub -p "$port" -V "$1" -t '#' -v -d -C 1 -W 60 >"$out" 2>&1 &
  sub=$!
  until_true 60 grep -q SUBACK "$out" || fail "mosquitto_sub -V $1 was not subscribed"
  mosquitto_pub -p "$port" -V "$1" -q 1 -t home/kitchen/temperature -m 21.5 || fail "mosquitto_pub -V $1"
  wait "$sub" || fail "mosquitto_sub -V $1 got nothing"
  grep -qx 'home/kitchen/temperature 21.5' "$out" || fail "mosquitto_sub -V $1 got something else"
  echo "MQTT ${1#mqttv}: ok"
}

# Ctrl-C on `go run`: the terminal sends SIGINT to both the go command and the broker.
go run ./cmd/sapwood serve "${address[@]}" >"$work/run.out" 2>&1 &
broker=$!
ready "$work/run.out"
began=$(date +%s%N)
exchange mqttv31
printf 'first message after ready: %d ms\n' $((($(date +%s%N) - began) / 1000000))
exchange mqttv311
exchange mqttv5
kill -INT -- "-$broker"
wait "$broker" || true # go run itself ends with 1 after SIGINT, whatever its child does
! grep 'exit status' "$work/run.out" || fail 'the broker did not stop cleanly after SIGINT'

# SIGTERM to the binary, with a client connected.
go build -o "$work/bin" ./cmd/sapwood
"$work/bin" serve "${address[@]}" >"$work/bin.out" 2>&1 &
broker=$!
ready "$work/bin.out"
stdbuf -oL mosquitto_sub -p "$port" -t '#' -d >"$work/held.out" 2>&1 &
held=$!
until_true 60 grep -qs SUBACK "$work/held.out" || fail 'the client that should see the stop was not subscribed'
kill -TERM "$broker"
wait "$broker" || fail "serve ended with status $? after SIGTERM"
echo 'SIGTERM: status 0'
kill "$held"
wait "$held" || true

# The sessions of the README between its marks: each line with "$ " is run, the lines below it have to be in what it prints but for numbers and
# the width of columns, and YAML between them is the configuration. Ports are others if theirs are taken here.
mkdir "$work/watch" "$work/safe" "$work/go"
cp "$work/bin" "$work/go/sapwood"
PATH=$work/go:$PATH

api() { # PATH: what the API says to the user that the start has shown
  local admin http
  admin=$(sed -n 's/.*user  admin, password \([A-Z0-9]*\).*/\1/p' "$work/serve.out")
  http=$(sed -n 's|.*http  \(http://[0-9.:]*\).*|\1|p' "$work/serve.out")
  curl -s -u "admin:$admin" "$http/api/v1/$1"
}
subscribed() { api subscriptions | grep -q '"client":"[^$]'; } # $canary is the broker's own
plain() { sed -E 's/[0-9]+([.:-][0-9]+)*(ms|[smhd])?/N/g; s/ +/ /g; s/ $//'; }
shown() { cat "$work"/{command,sub}.out | plain | grep -F -- "$(plain <<<"$1")" >/dev/null; }

# session FILE runs what is in it, in the directory that is current. It sets ran to the number of commands.
session() {
  local line yaml=''
  ran=0
  : >"$work/sub.out"
  while IFS= read -r line; do
    case $line in
      '```yaml') yaml=1 ;;
      '```') yaml='' ;;
      '    $ sapwood serve '*'&')
        line=${line#*$ }
        eval "${line%&} >'$work/serve.out' 2>&1 &"
        broker=$!
        until_true 60 grep -q 'user  admin' "$work/serve.out" || fail 'the broker never said that it is ready'
        ;;
      '    $ '*'&')
        line=${line#*$ }
        eval "${line%&} >'$work/sub.out' 2>&1 &"
        until_true 60 subscribed || fail "nobody subscribed: $line"
        ;;
      '    $ '*)
        line=${line#*$ } ran=$((ran + 1))
        eval "$line" >"$work/command.out" 2>&1 || fail "status $?: $line"
        ;;
      *)
        if [ -n "$yaml" ]; then
          printf '%s\n' "$line" >>sapwood.yaml
        elif [ "${line#    }" != "$line" ]; then
          until_true 60 shown "${line#    }" || fail "it does not print: ${line#    }"
        fi
        ;;
    esac
  done <"$1"
}

# between HEADING prints the marked lines of a section.
between() { sed -n "/^## $1/,/^## /p" "$work/sapwood/README.md" | sed -n '/^<!-- test\/newcomer.sh/,/^<!-- end/p'; }

# Why did device 4711 go silent?
cd "$work/watch"
sapwood serve "${address[@]}" >"$work/serve.out" 2>&1 &
broker=$!
until_true 60 grep -q 'user  admin' "$work/serve.out" || fail 'the broker never said that it is ready'
ready "$work/serve.out"
[ "$port" = 1883 ] || export SAPWOOD_URL=mqtt://127.0.0.1:$port
http=$(sed -n 's|.*http  http://127.0.0.1:\([0-9]*\).*|\1|p' "$work/serve.out")
between 'Why did' | sed "s/8083/$http/" >"$work/session.md"
session "$work/session.md"
[ "$ran" -ge 15 ] || fail "only $ran commands about device 4711 were found in the README"
kill -TERM "$broker"
wait "$broker" || fail "the watched broker ended with status $? after SIGTERM"
echo "device 4711: $ran commands ok"

# Five minutes to make it safe.
cd "$work/safe"
unset SAPWOOD_URL
tls=8883
while (exec 3<>"/dev/tcp/127.0.0.1/$tls") 2>/dev/null; do tls=$((tls + 1)); done
[ ${#address[@]} -eq 0 ] || export SAPWOOD_HTTP_ADDRESS=127.0.0.1:0
[ "$tls" = 8883 ] || export SAPWOOD_URL=mqtts://localhost:$tls
between 'Make it safe' | sed "s/8883/$tls/" >"$work/session.md"
session "$work/session.md"
[ "$ran" -ge 12 ] || fail "only $ran commands of the safe session were found in the README"
kill -TERM "$broker"
wait "$broker" || fail "the safe broker ended with status $? after SIGTERM"
echo "the safe session: $ran commands ok"
