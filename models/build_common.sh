# What the build scripts of models share. To be sourced by models/NAME/build.sh with its arguments: goes to the root of the
# repository, sets `install`, and defines `pinhole`, which is $PINHOLE or what cargo builds.

case "${1-}" in
    "") install=false ;;
    --install) install=true ;;
    *) echo "build.sh: found \`$1\`, expected nothing or --install" >&2; exit 2 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."

pinhole() {
    if [[ -n "${PINHOLE-}" ]]; then
        "$PINHOLE" "$@"
    else
        cargo run --release -q -p pinhole -- "$@"
    fi
}
