#!/bin/sh
# Build the Python 2.7 environment that the Autobahn Testsuite needs.
#
#   prepare.sh FOLDER      FOLDER/py27/bin/wstest is there afterwards
#
# Does nothing if FOLDER was built from the present requirements. Exits with 3
# if this machine has no Python 2.7, for the caller to skip, loudly.
set -eu

folder=$1
requirements=$(cd "$(dirname "$0")" && pwd)/requirements.txt
# Written last, so that a half-built environment is built again.
built_from=$folder/requirements.txt

if cmp -s "$requirements" "$built_from"; then
    exit 0
fi

works() {
    [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = 2.7 ]
}

python27=
# python2.7 may be a pyenv shim that refuses to run, so each candidate is tried.
for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python python2.7; do
    if works "$candidate"; then
        python27=$(command -v "$candidate")
        break
    fi
done
if [ -z "$python27" ]; then
    echo "AUTOBAHN TESTSUITE NOT RUN: it needs Python 2.7, and there is none (pyenv install 2.7.18)" >&2
    exit 3
fi

rm -rf "$folder/maker" "$folder/py27"
mkdir -p "$folder"
python3 -m venv "$folder/maker"
"$folder/maker/bin/pip" install --quiet --require-hashes -r "$requirements"
"$folder/maker/bin/virtualenv" --quiet --python "$python27" "$folder/py27"
"$folder/py27/bin/pip" install --quiet --require-hashes --no-deps -r "$requirements"
"$folder/py27/bin/wstest" --help >/dev/null
cp "$requirements" "$built_from"
