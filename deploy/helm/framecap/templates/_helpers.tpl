{{- define "framecap.labels" -}}
app.kubernetes.io/name: framecap
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "framecap.selector" -}}
app.kubernetes.io/name: framecap
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: worker
{{- end }}

{{- define "framecap.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "framecap.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "framecap.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "framecap.environment" -}}
- {name: AWS_DEFAULT_REGION, value: {{ .Values.region | quote }}}
- {name: FRAMECAP__STORE__FRAMES, value: {{ .Values.frames | quote }}}
- {name: FRAMECAP__INGEST__QUEUE, value: {{ .Values.queue | quote }}}
- {name: FRAMECAP__INGEST__VISIBILITY_SECONDS, value: {{ .Values.worker.visibilitySeconds | quote }}}
- {name: FRAMECAP__WORKER__GRACE_SECONDS, value: {{ .Values.worker.graceSeconds | quote }}}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
