{{- /*
Numbers of YAML reach a template as floats, and TOML would write 1000 as 1000.0. Make those that are whole into integers,
within the map that is given.
*/ -}}
{{- define "envelope-codec.integers" -}}
{{- $map := . -}}
{{- range $name, $value := $map -}}
{{- if kindIs "map" $value -}}
{{- include "envelope-codec.integers" $value -}}
{{- else if kindIs "slice" $value -}}
{{- range $value -}}{{- if kindIs "map" . -}}{{- include "envelope-codec.integers" . -}}{{- end -}}{{- end -}}
{{- else if kindIs "float64" $value -}}
{{- if eq (floor $value) $value -}}{{- $_ := set $map $name (int64 $value) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* envelope.toml: the settings, and what follows from the rest of the values. */ -}}
{{- define "envelope-codec.toml" -}}
{{- $settings := deepCopy .Values.settings -}}
{{- $server := $settings.server -}}
{{- $_ := set $server "listen" "0.0.0.0:8443" -}}
{{- if .Values.tls.secretName -}}
{{- $_ := set $server "tls_cert" "/etc/tls/tls.crt" -}}
{{- $_ := set $server "tls_key" "/etc/tls/tls.key" -}}
{{- end -}}
{{- include "envelope-codec.integers" $settings -}}
{{- $toml := toToml $settings | trim -}}
{{- if or (regexMatch "://[^/@\"]*:[^/@\"]+@" $toml) (regexMatch "[?&][a-z_]*(password|secret|token)=" $toml) -}}
{{- fail "settings: a URL holds a password; keep the URL in a secret, and name that under secretEnv" -}}
{{- end -}}
{{- /* Line feeds within texts are escaped: these are empty lines. */ -}}
{{- $toml | replace "\n\n" "\n" -}}
{{- end -}}
