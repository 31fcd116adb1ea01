#!/bin/sh
# Mounts Transit and makes the key `envelope`, where they are not there yet. Needs VAULT_ADDR and VAULT_TOKEN.
set -eu

if ! vault secrets list | grep -q '^transit/'; then
  vault secrets enable transit
fi
vault write -f transit/keys/envelope
