# What the scripts here share. It is read by them and does nothing by itself.
# shellcheck shell=sh

umask 077 # what is written here is nobody else's business
PROGRAM=$(basename "$0")

# BEGIN_AGAIN is what to do about a cluster that is neither fresh nor initialised.
# shellcheck disable=SC2034 # the scripts say it
BEGIN_AGAIN="stop the nodes, empty their data folders, remove init.failed, start the nodes and run ./init again"

die() {
	echo "$PROGRAM: $*" >&2
	exit 1
}

# misuse is for a command line that is wrong.
misuse() {
	echo "$PROGRAM: $*" >&2
	echo "$PROGRAM: for help: ./$PROGRAM --help" >&2
	exit 2
}

# value checks that an option was given something: value --key "$@"
value() {
	[ $# -ge 3 ] || misuse "$1 needs a value"
}

# need checks that programs are there.
need() {
	for program; do
		command -v "$program" >/dev/null || die "no $program on PATH"
	done
}

# find_vault sets VAULT to the program to run: $VAULT_BIN, vault or bao.
find_vault() {
	VAULT=${VAULT_BIN:-}
	[ -n "$VAULT" ] || VAULT=$(command -v vault || command -v bao) || die "no vault or bao on PATH, and no VAULT_BIN"
}

# fresh refuses to overwrite.
fresh() {
	for file; do
		if [ -e "$file" ]; then die "$file is there already and is not overwritten"; fi
	done
}

# read_nodes checks that ./config was run in $DIR and prints its lines:
# NODE HOST PORT.
read_nodes() {
	[ -f "$DIR/nodes" ] || die "no $DIR/nodes: run ./config first"
	cat "$DIR/nodes"
}

# addresses prints the base URLs of the nodes that are named, or of all.
addresses() {
	nodes=$(read_nodes) || exit 1
	if [ $# = 0 ]; then
		echo "$nodes" | while read -r _ host port; do echo "https://$host:$port"; done
		return
	fi
	for name; do
		found=$(echo "$nodes" | awk -v name="$name" '$1 == name { print "https://" $2 ":" $3 }')
		[ -n "$found" ] || die "there is no node $name in $DIR/nodes"
		echo "$found"
	done
}

# ask_vault runs Vault's own program against one node: ask_vault URL ARGS…
# Of the caller's environment it gets the token and nothing else of Vault's.
ask_vault() {
	address=$1
	shift
	env -u VAULT_SKIP_VERIFY -u VAULT_NAMESPACE -u VAULT_CAPATH -u VAULT_TLS_SERVER_NAME -u VAULT_FORMAT \
		-u VAULT_WRAP_TTL -u VAULT_AGENT_ADDR -u VAULT_PROXY_ADDR \
		VAULT_ADDR="$address" VAULT_CACERT="$DIR/ca.pem" VAULT_CLIENT_TIMEOUT=15s VAULT_MAX_RETRIES=0 \
		"$VAULT" "$@"
}
