{{- /* What the pods that serve and the pod of `helm test` have in common. */ -}}

{{- define "envelope-codec.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.fsGroup }}
fsGroup: {{ int64 . }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "envelope-codec.container" -}}
image: {{ printf "%s@%s" .Values.image.repository .Values.image.digest }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
# The budgets of docs/codec-server.md are made for this limit of memory: change them together.
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- if or .Values.env .Values.secretEnv }}
env:
  {{- range $name, $value := .Values.env }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- range $name, $from := .Values.secretEnv }}
  - name: {{ $name }}
    valueFrom:
      secretKeyRef: {name: {{ $from.secret }}, key: {{ $from.key }}}
  {{- end }}
{{- end }}
volumeMounts:
  - {name: settings, mountPath: /etc/envelope, readOnly: true}
  {{- if .Values.tls.secretName }}
  - {name: tls, mountPath: /etc/tls, readOnly: true}
  {{- end }}
  {{- range $name, $secret := .Values.secretFiles }}
  - {name: secret-{{ $name }}, mountPath: /etc/secrets/{{ $name }}, readOnly: true}
  {{- end }}
  {{- range $name, $map := .Values.configMapFiles }}
  - {name: config-{{ $name }}, mountPath: /etc/config/{{ $name }}, readOnly: true}
  {{- end }}
  {{- if .Values.tokens }}
  - {name: tokens, mountPath: /var/run/secrets/tokens, readOnly: true}
  {{- end }}
  - {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "envelope-codec.volumes" -}}
- name: settings
  configMap: {name: {{ include "envelope-codec.fullname" . }}}
{{- if .Values.tls.secretName }}
- name: tls
  secret: {secretName: {{ .Values.tls.secretName }}, defaultMode: 0440}
{{- end }}
{{- range $name, $secret := .Values.secretFiles }}
- name: secret-{{ $name }}
  secret: {secretName: {{ $secret }}, defaultMode: 0440}
{{- end }}
{{- range $name, $map := .Values.configMapFiles }}
- name: config-{{ $name }}
  configMap: {name: {{ $map }}}
{{- end }}
{{- if .Values.tokens }}
- name: tokens
  projected:
    defaultMode: 0440
    sources:
      {{- range $name, $token := .Values.tokens }}
      - serviceAccountToken:
          path: {{ $name }}
          audience: {{ $token.audience | quote }}
          expirationSeconds: {{ default 3600 $token.expirationSeconds | int64 }}
      {{- end }}
{{- end }}
- name: tmp # with workers, metrics are put together there
  emptyDir: {}
{{- end -}}
