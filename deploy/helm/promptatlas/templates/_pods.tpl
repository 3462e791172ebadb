{{/* What pods of the service and of workers have in common. */}}
{{- define "promptatlas.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
# Files of a large store are not changed one by one at each start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "promptatlas.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "promptatlas.annotations" -}}
# Other settings restart the pods.
checksum/settings: {{ include (print .Template.BasePath "/settings.yaml") . | sha256sum }}
{{- end -}}

{{- define "promptatlas.environment" -}}
# An empty variable makes room for the file redis_url of PROMPTATLAS_SECRETS_DIR.
- {name: PROMPTATLAS_REDIS_URL, value: ""}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "promptatlas.environmentSources" -}}
- configMapRef: {name: {{ include "promptatlas.name" . }}-settings}
{{- with .Values.s3.existingSecret }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end -}}

{{- define "promptatlas.mounts" -}}
- {name: secrets, mountPath: /run/promptatlas/secrets, readOnly: true}
- {name: cache, mountPath: /cache}
- {name: shm, mountPath: /dev/shm}
{{- if not .Values.store.url }}
- {name: store, mountPath: /data}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "promptatlas.volumes" -}}
- name: secrets
  secret:
    secretName: {{ include "promptatlas.redisSecret" . }}
    items: [{key: redis_url, path: redis_url}]
- {name: cache, emptyDir: {}}
{{- if not .Values.store.url }}
- {name: store, persistentVolumeClaim: {claimName: {{ include "promptatlas.storeClaim" . }}}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Arguments: gpu, gpuResource and resources of a container. */}}
{{- define "promptatlas.resources" -}}
{{- $limits := deepCopy (.resources.limits | default dict) -}}
{{- if .gpu }}{{ $_ := set $limits .gpuResource .gpu }}{{ end -}}
{{ toYaml (merge (dict "limits" $limits) (deepCopy .resources)) }}
{{- end -}}
