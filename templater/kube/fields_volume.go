package kube

func volumeFields() map[string]Field {
	csi := decide("create a CSI volume with `nomad volume create`, and mount it with `volume` and `volume_mount`")
	gone := no("Kubernetes itself has removed it; use a CSI volume")
	mode := yes("`perms` of the template")
	owner := no("rendered files belong to root")
	return join(
		group("Volume", map[string]Field{"name": yes("names the volume")}),
		group("VolumeSource", map[string]Field{
			"emptyDir":              yes("a directory in /alloc; with medium: Memory, `pod_volume`"),
			"hostPath":              yes("`volumes`, which the operator must allow, and so needs a decision"),
			"configMap":             yes("templates, and their directory in `volumes`"),
			"secret":                yes("templates with nomadVar, and their directory in `volumes`"),
			"downwardAPI":           yes("templates"),
			"projected":             yes("templates"),
			"persistentVolumeClaim": yes("`volume` of the group and `volume_mount`; which volume needs a decision"),
			"ephemeral":             decide("use a directory in /alloc, or a volume of the group"),
			"image":                 yes("`mount` of type image"),
			"gitRepo":               no("use an `artifact` block"),
			"csi":                   csi, "nfs": csi, "iscsi": csi, "fc": csi, "cephfs": csi, "rbd": csi, "glusterfs": csi,
			"awsElasticBlockStore": csi, "azureDisk": csi, "azureFile": csi, "cinder": csi, "gcePersistentDisk": csi,
			"portworxVolume": csi, "vsphereVolume": csi, "flexVolume": csi, "scaleIO": csi, "storageos": csi,
			"flocker": gone, "photonPersistentDisk": gone, "quobyte": gone,
		}),
		group("EmptyDirVolumeSource", map[string]Field{
			"medium":    yes("Memory is `pod_volume`; huge pages have no equivalent"),
			"sizeLimit": yes("`size` of a `pod_volume`; on disk it has no equivalent"),
			"mode":      no("the directories are those of the allocation"),
		}),
		group("ImageVolumeSource", map[string]Field{"reference": yes("the source"), "pullPolicy": yes("`image_pull_policy`")}),
		group("HostPathVolumeSource", map[string]Field{"path": yes("the source"), "type": yes("`mount` for what must exist; a missing directory is created; devices need a decision")}),
		group("ConfigMapVolumeSource", map[string]Field{
			"items": yes("templates"), "defaultMode": mode, "optional": yes("without the ConfigMap the directory is empty"), "defaultUser": owner,
		}),
		group("SecretVolumeSource", map[string]Field{
			"secretName": yes("the items' names in the variable"), "items": yes("templates"), "defaultMode": mode, "optional": yes("a missing item is an empty file"), "defaultUser": owner,
		}),
		group("KeyToPath", map[string]Field{"key": yes("the key"), "path": yes("`destination` of the template"), "mode": mode, "user": owner}),
		group("DownwardAPIVolumeSource", map[string]Field{"items": yes("templates"), "defaultMode": mode, "defaultUser": owner}),
		group("DownwardAPIVolumeFile", map[string]Field{"path": yes("`destination` of the template"), "fieldRef": yes("Nomad's variables"), "resourceFieldRef": yes("the number"), "mode": mode, "user": owner}),
		group("ProjectedVolumeSource", map[string]Field{"sources": yes("templates"), "defaultMode": mode, "defaultUser": owner}),
		group("VolumeProjection", map[string]Field{
			"configMap": yes("as a volume of its own"), "secret": yes("as a volume of its own"), "downwardAPI": yes("as a volume of its own"),
			"serviceAccountToken": no("use `identity { file = true }` for a token of Nomad's own"),
			"clusterTrustBundle":  no("render the certificates with a template"),
			"podCertificate":      no("use `vault` and a template with pkiCert"),
		}),
		group("ConfigMapProjection", map[string]Field{"items": yes("templates"), "optional": yes("as for a volume")}),
		group("SecretProjection", map[string]Field{"items": yes("templates"), "optional": yes("as for a volume")}),
		group("DownwardAPIProjection", map[string]Field{"items": yes("templates")}),
		group("PersistentVolumeClaimVolumeSource", map[string]Field{"claimName": yes("`source` of the volume"), "readOnly": yes("`read_only`")}),
		group("VolumeMount", map[string]Field{
			"name": yes("the volume"), "mountPath": yes("the target"), "readOnly": yes("`:ro`, or `read_only`"),
			"subPath":           yes("part of the source; `image_options` of an image; of a persistent volume it has no equivalent"),
			"subPathExpr":       no("use `subPath`, or a link that a prestart task makes"),
			"mountPropagation":  yes("`propagation_mode` of a persistent volume; `bind_options` of a host path"),
			"recursiveReadOnly": drop("the driver's read-only mounts include all mounts below"),
			"bindMountOptions":  no("a mount keeps the options of its source"),
		}),
	)
}

func serviceFields() map[string]Field {
	cluster := no("Nomad has no addresses of services: `nomadService` in a template lists those of the allocations")
	balancer := decide("put a load balancer or the tls-proxy sidecar in front; Nomad has none")
	family := drop("the client's network decides")
	return join(
		group("Service", map[string]Field{"metadata": yes("see ObjectMeta"), "spec": yes("`service`"), "status": drop("the server writes it")}),
		group("ServiceSpec", map[string]Field{
			"ports": yes("a `service` each; the first has the Service's name"), "selector": yes("the jobs with these labels"),
			"type":         yes("ClusterIP; NodePort with nodePort; LoadBalancer and ExternalName have no equivalent"),
			"externalName": no("write the name into the configuration of its clients"),
			"clusterIP":    no("Nomad has no addresses of services: `nomadService` in a template lists those of the allocations", "None"),
			"clusterIPs":   drop("the server writes it"), "externalIPs": cluster,
			"sessionAffinity": no("clients choose an allocation: `nomadService NUMBER KEY NAME` in a template chooses by a key", "None"), "sessionAffinityConfig": no("see sessionAffinity"),
			"loadBalancerIP": balancer, "loadBalancerSourceRanges": balancer, "loadBalancerClass": balancer,
			"allocateLoadBalancerNodePorts": balancer, "healthCheckNodePort": drop("the server writes it"),
			"externalTrafficPolicy": no("a port is forwarded on the allocation's own client only", "Local", "Cluster"),
			"internalTrafficPolicy": no("clients choose an allocation", "Cluster"), "trafficDistribution": no("clients choose an allocation"),
			"publishNotReadyAddresses": no("Nomad lists all running allocations, with the state of their checks", "false"),
			"ipFamilies":               family, "ipFamilyPolicy": family,
		}),
		group("ServicePort", map[string]Field{
			"name": yes("part of the service's name, except for the first"), "protocol": yes("TCP and UDP"),
			"port": yes("replaced by the host's port, which Nomad registers with the service"), "targetPort": yes("`to` of the port"),
			"nodePort": yes("`static`"), "appProtocol": no("Nomad does not use it"),
		}),
	)
}

func dataFields() map[string]Field {
	made := yes("the comment at the volume; you create the volume")
	return join(
		group("ConfigMap", map[string]Field{"metadata": yes("see ObjectMeta"), "data": yes("`env`, templates"), "binaryData": yes("templates with base64Decode"), "immutable": drop("a job's templates change with the job only")}),
		group("Secret", map[string]Field{
			"metadata": yes("see ObjectMeta"), "data": yes("items of a Nomad variable, never the job"), "stringData": yes("items of a Nomad variable, never the job"),
			"type": drop("a variable has no type"), "immutable": drop("Nomad's variables can be changed"),
		}),
		group("PersistentVolumeClaim", map[string]Field{"metadata": yes("see ObjectMeta"), "spec": made, "status": drop("the server writes it")}),
		group("PersistentVolumeClaimSpec", map[string]Field{
			"accessModes": made, "resources": made, "storageClassName": made,
			"volumeName": made, "volumeMode": made,
			"selector":   decide("choose the volume by its name"),
			"dataSource": decide("fill the volume before the job runs"), "dataSourceRef": decide("fill the volume before the job runs"),
			"volumeAttributesClassName": decide("set the parameters of the CSI volume"),
		}),
		group("VolumeResourceRequirements", map[string]Field{"requests": made, "limits": made}),
	)
}
