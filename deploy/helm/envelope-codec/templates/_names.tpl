{{- define "envelope-codec.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "envelope-codec.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "envelope-codec.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "envelope-codec.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "envelope-codec.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "envelope-codec.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: give the account's name, or create: true" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* Labels of everything of this release: what selects pods stays the same from version to version. */ -}}
{{- define "envelope-codec.instance" -}}
app.kubernetes.io/name: {{ include "envelope-codec.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* The pods that serve: not that of `helm test`. */ -}}
{{- define "envelope-codec.selector" -}}
{{ include "envelope-codec.instance" . }}
app.kubernetes.io/component: codec-server
{{- end -}}

{{- define "envelope-codec.labels" -}}
{{ include "envelope-codec.instance" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "envelope-codec.scheme" -}}
{{- if .Values.tls.secretName }}https{{ else }}http{{ end -}}
{{- end -}}
