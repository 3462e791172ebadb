{{- define "promptatlas.name" -}}
{{- if contains "promptatlas" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-promptatlas" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "promptatlas.selector" -}}
app.kubernetes.io/name: promptatlas
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "promptatlas.labels" -}}
{{ include "promptatlas.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "promptatlas.redisSecret" -}}
{{- .Values.redis.existingSecret | default (printf "%s-redis" (include "promptatlas.name" .)) -}}
{{- end -}}

{{- define "promptatlas.storeClaim" -}}
{{- .Values.store.volume.existingClaim | default (printf "%s-store" (include "promptatlas.name" .)) -}}
{{- end -}}
