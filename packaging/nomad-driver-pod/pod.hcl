plugin_dir = "/usr/lib/nomad/plugins"
plugin "nomad-driver-pod" {}
# Debian's folder of CNI plugins. Fedora's is among Nomad's defaults.
client { cni_path = "/opt/cni/bin:/usr/lib/cni" }
