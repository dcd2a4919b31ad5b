package analyze

func podCases() []kase {
	pod := func(lines string) string { return "task \"t\" {\n driver = \"pod\"\n config {\n" + lines + " }\n}\n" }
	with := func(outside, lines string) string {
		return "task \"t\" {\n driver = \"pod\"\n" + outside + " config {\n  command = \"a\"\n" + lines + " }\n}\n"
	}
	other := func(name, lines string) string {
		return "task \"" + name + "\" {\n driver = \"pod\"\n" + lines + "}\n"
	}
	return []kase{
		{"NS1021", "default", with("", "  pre_stop {\n   command = \"x\"\n  }\n"), []int{7}, "may take 5s, but gets at most half of kill_timeout, 2.5s"},
		{"NS1021", "long", with(" kill_timeout = \"20s\"\n", "  pre_stop {\n   command = \"x\"\n   timeout = \"15s\"\n  }\n"), []int{8}, "may take 15s"},
		{"NS1021", "fits", with(" kill_timeout = \"20s\"\n", "  pre_stop {\n   command = \"x\"\n   timeout = \"10s\"\n  }\n"), nil, ""},
		{"NS1021", "unknown", "variable \"k\" { type = string }\njob \"j\" {\ngroup \"g\" {\n" + with(" kill_timeout = var.k\n", "  pre_stop {\n   command = \"x\"\n  }\n") + "}\n}", nil, ""},

		{"NS1022", "default", with("", "") + other("u", " config {\n  after = [\"t\"]\n }\n"), []int{3}, `Task "t" of group "g" ends after "u", but waits for it for at most half of its own kill_timeout, 2.5s, while "u" may take 5s.`},
		{"NS1022", "after a task that has ended", with(" lifecycle { hook = \"prestart\" }\n", "") + other("u", " config {\n  after = [\"t\"]\n }\n"), nil, ""},
		{"NS1022", "after a sidecar", with(" lifecycle {\n  hook = \"prestart\"\n  sidecar = true\n }\n", "") + other("u", " config {\n  after = [\"t\"]\n }\n"), []int{3}, ""},
		{"NS1022", "enough", with(" kill_timeout = \"10s\"\n", "") + other("u", " config {\n  after = [\"t\"]\n }\n"), nil, ""},

		{"NS1050", "logging", pod("  image = \"a:1\"\n  logging {\n   type = \"syslog\"\n  }\n"), []int{7}, "the pod driver refuses logging. Instead: the task's logs block, and config { logs { } }."},
		{"NS1050", "attribute", pod("  dns_servers = [\"10.0.0.1\"]\n"), []int{6}, "refuses dns_servers. Instead: network { dns { servers } } of the group."},
		{"NS1050", "list", pod("  port_map {\n   http = 80\n  }\n"), []int{6}, ""},
		{"NS1050", "tty", pod("  tty = true\n"), []int{6}, "tty = true"},
		{"NS1050", "userns", pod("  userns_mode = \"keep-id\"\n"), []int{6}, `userns_mode = "keep-id"`},
		{"NS1050", "userns of the pod", pod("  userns = \"auto\"\n"), nil, ""},
		{"NS1050", "unverified", pod("  auth {\n   username = \"u\"\n   password = \"p\"\n   tls_verify = false\n  }\n"), []int{6}, "auth.tls_verify = false"},
		{"NS1050", "volume", pod("  mount {\n   type = \"volume\"\n   target = \"/x\"\n   source = \"x\"\n   volume_options {\n    no_copy = true\n   }\n  }\n"), []int{6}, "mount of type volume"},
		{"NS1050", "interactive", pod("  interactive = true\n"), []int{6}, "refuses interactive, except false"},
		{"NS1050", "harmless", bridge + pod("  interactive = false\n  auth_soft_fail = true\n  network_mode = \"bridge\"\n  cgroupns = \"private\"\n  dns_servers = []\n  healthchecks {\n   disable = true\n  }\n  runtime = \"\"\n"), nil, ""},
		{"NS1050", "another network", pod("  network_mode = \"weave\"\n"), []int{6}, "except the mode of the group's network"},
		{"NS1050", "unknown", "variable \"n\" { type = string }\njob \"j\" {\ngroup \"g\" {\n" + pod("  network_mode = var.n\n") + "}\n}", nil, ""},
		{"NS1050", "docker", "task \"t\" {\n driver = \"docker\"\n config {\n  logging {\n   type = \"syslog\"\n  }\n }\n}", nil, ""},

		{"NS1051", "key", pod("  imag = \"a:1\"\n"), []int{6}, `has no key "imag". Did you mean "image"?`},
		{"NS1051", "key of a block", pod("  ready {\n   htp = \"http://127.0.0.1\"\n  }\n"), []int{7}, `"ready.htp". Did you mean "http"?`},
		{"NS1051", "known", pod("  image = \"a:1\"\n  mount {\n   type = \"tmpfs\"\n   target = \"/x\"\n   tmpfs_options {\n    size = 1\n   }\n  }\n  mounts = [{ type = \"bind\", source = \"local\", target = \"/y\" }]\n  pod_volume \"x\" {\n   target = \"/z\"\n  }\n  sysctl = { \"net.core.somaxconn\" = \"1\" }\n  labels {\n   any = \"x\"\n  }\n  devices = [{ host_path = \"/dev/null\" }]\n"), nil, ""},
		{"NS1051", "named block", pod("  pod_volume \"x\" {\n   targt = \"/z\"\n  }\n"), []int{7}, `"pod_volume.targt"`},

		{"NS1051", "dynamic", pod("  dynamic \"mount\" {\n   for_each = [1]\n   content {}\n  }\n"), []int{6}, `has no key "dynamic"`},

		{"NS1052", "nothing", pod("  args = [\"x\"]\n"), []int{3}, ""},
		{"NS1052", "image", pod("  image = \"a:1\"\n"), nil, ""},
		{"NS1052", "dynamic", pod("  dynamic \"image\" {\n   for_each = [1]\n   content {}\n  }\n"), []int{3}, ""},

		{"NS1053", "no such task", with("", "  after = [\"db\"]\n"), []int{7}, `its after names "db", and the group has no such task`},
		{"NS1053", "main", with(sidecarHook, "  after = [\"u\"]\n") + other("u", ""), []int{11}, "which Nomad starts only when this task is ready"},
		{"NS1053", "circle", with("", "  after = [\"u\"]\n") + other("u", " config {\n  after = [\"t\"]\n }\n"), []int{7, 13}, "wait for each other"},
		{"NS1053", "itself", with("", "  after = [\"t\"]\n"), []int{7}, ""},
		{"NS1053", "order", with("", "  after = [\"u\"]\n") + other("u", sidecarHook), nil, ""},

		{"NS1054", "not repeated", with(" logs {\n  max_files = 3\n }\n", ""), []int{5}, ""},
		{"NS1054", "repeated", with(" logs {\n  max_files = 3\n }\n", "  logs {\n   max_files = 3\n  }\n"), nil, ""},
		{"NS1054", "defaults", with(" logs {\n  max_files = 10\n  max_file_size = 10\n }\n", ""), nil, ""},
		{"NS1054", "disabled", with(" logs {\n  disabled = true\n  max_files = 1\n }\n", ""), nil, ""},

		{"NS1055", "hostname", "network {\n mode = \"bridge\"\n hostname = \"x\"\n}\n" + with("", ""), []int{5}, "hostname in its network block"},
		{"NS1055", "none", "network {\n mode = \"none\"\n}\n" + with("", ""), []int{4}, "a network of mode none"},
		{"NS1055", "docker", "network {\n mode = \"bridge\"\n hostname = \"x\"\n}\n" + docker, nil, ""},

		{"NS1056", "host", hostNet + with("", "  ports = [\"http\"]\n"), []int{12}, ""},
		{"NS1056", "bridge", bridge + with("", "  ports = [\"http\"]\n"), nil, ""},

		{"NS1057", "not ready", with(sidecarHook, ""), []int{3}, ""},
		{"NS1057", "ready", with(sidecarHook, "  ready {\n   file = \"/x\"\n  }\n"), nil, ""},
		{"NS1057", "main", with("", ""), nil, ""},
	}
}
