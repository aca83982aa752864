#!/bin/sh
# The entry of a container: `podman run IMAGE join NAME --dir /data` is `folkmoot join NAME --dir /data`. A program that is
# named whole is run as it is, as test networks do.
case "${1:-}" in
  folkmoot | python3 | sh | /*) exec "$@" ;;
  *) exec folkmoot "$@" ;;
esac
