# Sourced by scripts/test and scripts/demo, and by nothing else: finds what is missing and installs it.
# POSIX sh, so that Alpine needs no bash. Knows apt, dnf, apk and pacman; anything else gets a list.

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$@"
    exit 2
}

# Runs a command as root: as it is, or through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo -- "$@"
    else
        die "This needs root, and there is no sudo: run $0 as root."
    fi
}

# Whether the program behind a short name is there. Programs of the system may be outside a user's PATH.
present() {
    (
        PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
        case $1 in
            cc) command -v cc || command -v gcc || command -v clang ;;
            # Busybox has an ip without network namespaces.
            ip) ip -V 2>&1 | grep iproute2 ;;
            *) command -v "$1" ;;
        esac
    ) >/dev/null 2>&1
}

manager() {
    for candidate in apt-get dnf apk pacman; do
        if command -v "$candidate" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
}

# The packages that hold a program: package PROGRAM MANAGER.
packages() {
    case $1:$2 in
        cc:apt-get) echo gcc libc6-dev ;;
        cc:apk) echo gcc musl-dev ;;
        cc:*) echo gcc ;;
        nft:*) echo nftables ;;
        iptables-nft-save:dnf) echo iptables-nft ;;
        iptables-legacy-save:dnf | iptables-legacy-save:apk) echo iptables-legacy ;;
        iptables-*-save:*) echo iptables ;;
        ebtables-nft-save:dnf) echo iptables-nft ;;
        ebtables-nft-save:*) echo iptables ;;
        arptables-legacy:dnf) echo arptables-legacy ;;
        arptables-legacy:*) echo arptables ;;
        ip:dnf) echo iproute ;;
        ip:*) echo iproute2 ;;
        systemd-nspawn:pacman) echo systemd ;;
        systemd-nspawn:*) echo systemd-container ;;
        unshare:*) echo util-linux ;;
        setpriv:apk) echo setpriv ;;
        setpriv:*) echo util-linux ;;
        getent:apt-get) echo libc-bin ;;
        getent:dnf) echo glibc-common ;;
        getent:apk) echo musl-utils ;;
        getent:pacman) echo glibc ;;
        python3:pacman) echo python ;;
        *) echo "$1" ;;
    esac
}

# Installs packages; what the package manager says goes to stderr.
install_with() {
    chosen=$1
    shift
    say "Installing: $*"
    case $chosen in
        apt-get)
            as_root apt-get update -qq >&2 &&
                as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
            ;;
        dnf) as_root dnf install -y -q "$@" >&2 ;;
        apk) as_root apk add --quiet "$@" >&2 ;;
        pacman) as_root pacman -Sy --noconfirm --needed "$@" >&2 ;;
    esac
}

# Makes sure that each program named is there; ends with status 2 and a list where it cannot.
ensure() {
    command -v cargo >/dev/null 2>&1 || die "Rust is not installed (no cargo in PATH): see https://rustup.rs"
    missing=
    for program in "$@"; do
        present "$program" || missing="$missing $program"
    done
    [ -n "$missing" ] || return 0

    found=$(manager)
    [ -n "$found" ] || die "Missing:$missing
This system's package manager is not one of apt, dnf, apk and pacman. Install these programs and run $0 again."
    wanted=
    for program in $missing; do
        wanted="$wanted $(packages "$program" "$found")"
    done
    # shellcheck disable=SC2086 # a list of words
    install_with "$found" $wanted || die "Could not install:$wanted
Install the packages with these programs and run $0 again:$missing"
    for program in $missing; do
        present "$program" || die "$program is still missing after installing:$wanted"
    done
}

# Whether this process may make network namespaces, now or through sudo.
ensure_root() {
    [ "$(id -u)" -eq 0 ] && return 0
    command -v sudo >/dev/null 2>&1 ||
        die "$1 makes network namespaces, which only root may, and there is no sudo: run $0 as root."
    say "$1 makes network namespaces, which only root may: asking sudo."
    sudo -v || die "sudo refused: run $0 as root."
}
