{{- define "ambit.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "ambit.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "ambit.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "ambit.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "ambit.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ambit.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The pods that serve: those of the migration and the test carry the common labels alone. */}}
{{- define "ambit.serverLabels" -}}
{{ include "ambit.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "ambit.labels" -}}
{{ include "ambit.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "ambit.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "ambit.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ambit.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "ambit.databaseSecret" -}}
{{- default (printf "%s-database" (include "ambit.fullname" .)) .Values.database.existingSecret -}}
{{- end -}}

{{- define "ambit.tlsSecret" -}}
{{- default (printf "%s-tls" (include "ambit.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{/* How the HTTP port is spoken to, as probes and URLs say it. */}}
{{- define "ambit.httpScheme" -}}
{{- if and .Values.tls.enabled .Values.tls.http -}}https{{- else -}}http{{- end -}}
{{- end -}}

{{/* The name of the Service that its certificate has. */}}
{{- define "ambit.httpHost" -}}
{{ include "ambit.fullname" . }}.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* Bytes of a quantity such as 2Gi or 500M. */}}
{{- define "ambit.bytes" -}}
{{- $quantity := toString . -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "" 1 -}}
{{- $number := regexFind "^[0-9]+(\\.[0-9]+)?" $quantity -}}
{{- $unit := trimPrefix $number $quantity -}}
{{- if or (eq $number "") (not (hasKey $units $unit)) -}}
{{- fail (printf "resources.limits.memory: `%s` is no quantity as 2Gi or 500M" $quantity) -}}
{{- end -}}
{{- mulf (float64 $number) (get $units $unit) | floor | int64 -}}
{{- end -}}

{{/* What can't work is told when it is rendered, not by pods that end again and again. */}}
{{- define "ambit.validate" -}}
{{- if eq .Values.database.kind "sqlite" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1) -}}
{{- fail "database.kind sqlite serves from one volume: set replicaCount to 1 and autoscaling.enabled to false, or use postgres" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and (not .Values.tls.enabled) (not .Values.tls.encryptedByMesh) .Values.authentication.required -}}
{{- fail "credentials would travel in the clear: enable tls, or say with tls.encryptedByMesh that a mesh encrypts" -}}
{{- end -}}
{{- if and .Values.tls.clientCaSecretKey (not .Values.tls.enabled) -}}
{{- fail "tls.clientCaSecretKey needs tls.enabled" -}}
{{- end -}}
{{- if and .Values.tls.clientCaExistingSecret (not .Values.tls.clientCaSecretKey) -}}
{{- fail "tls.clientCaExistingSecret needs tls.clientCaSecretKey" -}}
{{- end -}}
{{- if and .Values.authentication.clientCertificates (not .Values.tls.clientCaSecretKey) -}}
{{- fail "authentication.clientCertificates needs tls.clientCaSecretKey" -}}
{{- end -}}
{{- range .Values.authentication.clientCertificates -}}
{{- if eq (empty .accounts) (empty .allAccounts) -}}
{{- fail (printf "authentication.clientCertificates: %s needs either accounts or allAccounts" .name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.authentication.clientCertificates (not .Values.authentication.required) -}}
{{- fail "authentication.clientCertificates needs authentication.required" -}}
{{- end -}}
{{- if and .Values.authentication.tokensExistingSecret (not .Values.authentication.required) -}}
{{- fail "authentication.tokensExistingSecret needs authentication.required" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.enabled needs ingress.host" -}}
{{- end -}}
{{- $limit := .Values.resources.limits.memory -}}
{{- if $limit -}}
{{- $bytes := int64 (include "ambit.bytes" $limit) -}}
{{- if gt (int64 (include "ambit.cacheBytesMax" .)) (div (mul $bytes 3) 4) -}}
{{- fail (printf "config.cache_bytes_max leaves too little of resources.limits.memory (%s): at most three quarters of it are for accounts" (toString $limit)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Memory for accounts: what is configured, or half of the limit. */}}
{{- define "ambit.cacheBytesMax" -}}
{{- if hasKey .Values.config "cache_bytes_max" -}}
{{- int64 .Values.config.cache_bytes_max -}}
{{- else if .Values.resources.limits.memory -}}
{{- div (int64 (include "ambit.bytes" .Values.resources.limits.memory)) 2 -}}
{{- else -}}
1073741824
{{- end -}}
{{- end -}}

{{- define "ambit.shutdownGraceSeconds" -}}
{{- $millis := int64 (default 20000 (get .Values.config "shutdown_grace_ms")) -}}
{{- div (add $millis 999) 1000 -}}
{{- end -}}

{{/* One setting as TOML writes it. */}}
{{- define "ambit.toml" -}}
{{- $value := .value -}}
{{- if kindIs "string" $value -}}
{{ .key }} = {{ $value | toJson }}
{{- else if kindIs "float64" $value -}}
{{- if eq (floor $value) $value -}}
{{ .key }} = {{ int64 $value }}
{{- else -}}
{{ .key }} = {{ $value | toString | toJson }}
{{- end -}}
{{- else -}}
{{ .key }} = {{ $value }}
{{- end -}}
{{- end -}}

{{- define "ambit.config" -}}
{{- $settings := dict "grpc_address" "0.0.0.0:50051" "http_address" "0.0.0.0:8080" "log_format" "json" "shutdown_grace_ms" 20000 -}}
{{- $_ := set $settings "cache_bytes_max" (include "ambit.cacheBytesMax" . | int64) -}}
{{- if eq .Values.database.kind "postgres" -}}
{{- $_ := set $settings "database_url_file" (printf "/run/secrets/ambit/database/%s" .Values.database.secretKey) -}}
{{- $_ := set $settings "no_migrate" true -}}
{{- else -}}
{{- $_ := set $settings "data_dir" "/var/lib/ambit" -}}
{{- end -}}
{{- $_ := set $settings "authentication" (ternary "required" "none" .Values.authentication.required) -}}
{{- if .Values.authentication.tokensExistingSecret -}}
{{- $_ := set $settings "tokens_file" (printf "/run/secrets/ambit/tokens/%s" .Values.authentication.tokensSecretKey) -}}
{{- end -}}
{{- if .Values.tls.enabled -}}
{{- $_ := set $settings "tls_certificate_file" "/run/secrets/ambit/tls/tls.crt" -}}
{{- $_ := set $settings "tls_key_file" "/run/secrets/ambit/tls/tls.key" -}}
{{- if .Values.tls.http -}}
{{- $_ := set $settings "http_tls" true -}}
{{- else -}}
{{- $_ := set $settings "plaintext" true -}}
{{- end -}}
{{- if .Values.tls.clientCaSecretKey -}}
{{- $_ := set $settings "tls_client_ca_file" (printf "/run/secrets/ambit/%s/%s" (ternary "client-ca" "tls" (ne .Values.tls.clientCaExistingSecret "")) .Values.tls.clientCaSecretKey) -}}
{{- end -}}
{{- else if .Values.tls.encryptedByMesh -}}
{{- $_ := set $settings "plaintext" true -}}
{{- end -}}
{{- if not .Values.authentication.required -}}
{{- $_ := set $settings "insecure" true -}}
{{- end -}}
{{- $settings = mergeOverwrite $settings .Values.config -}}
{{- range $key := keys $settings | sortAlpha }}
{{ include "ambit.toml" (dict "key" $key "value" (get $settings $key)) }}
{{- end }}
{{- with .Values.extraConfig }}

{{ . | trim }}
{{- end }}
{{- range .Values.authentication.clientCertificates }}

[[client_certificates]]
name = {{ .name | toJson }}
san = {{ .san | toJson }}
roles = {{ .roles | toJson }}
{{- if .allAccounts }}
all_accounts = true
{{- end }}
{{- with .accounts }}
accounts = {{ . | toJson }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ambit.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "ambit.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
{{- end -}}
