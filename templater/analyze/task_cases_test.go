package analyze

import "strings"

const sidecarHook = " lifecycle {\n  hook = \"prestart\"\n  sidecar = true\n }\n"

func taskCases() []kase {
	task := func(lines string) string { return "task \"t\" {\n driver = \"docker\"\n" + lines + "}\n" }
	java := func(lines string) string { return "task \"t\" {\n driver = \"java\"\n" + lines + "}\n" }
	config := func(lines string) string { return task(" config {\n" + lines + " }\n") }
	return []kase{
		{"NS1020", "inherits", task(sidecarHook), []int{3}, `Sidecar task "t" of group "g"`},
		{"NS1020", "own", task(sidecarHook + " restart {\n  attempts = 1\n }\n"), nil, ""},
		{"NS1020", "group delays", "restart {\n mode = \"delay\"\n}\n" + task(sidecarHook), nil, ""},
		{"NS1020", "group fails", "restart {\n mode = \"fail\"\n}\n" + task(sidecarHook), []int{6}, ""},
		{"NS1020", "no sidecar", task(" lifecycle {\n  hook = \"prestart\"\n }\n"), nil, ""},
		{"NS1020", "unknown", "variable \"s\" { type = bool }\njob \"j\" {\ngroup \"g\" {\n" + task(" lifecycle {\n  hook = \"prestart\"\n  sidecar = var.s\n }\n") + "}\n}", nil, ""},

		{"NS1023", "group", bridge + docker + `service { port = "http" }`, []int{15}, `Group "g" has services`},
		{"NS1023", "delayed", bridge + docker + "shutdown_delay = \"5s\"\n" + `service { port = "http" }`, nil, ""},
		{"NS1023", "task delayed", bridge + "task \"t\" {\n driver = \"docker\"\n shutdown_delay = \"5s\"\n service { port = \"http\" }\n}", nil, ""},
		{"NS1023", "task, delayed group", bridge + "shutdown_delay = \"5s\"\ntask \"t\" {\n driver = \"docker\"\n service { port = \"http\" }\n}", []int{12}, `Task "t" of group "g" has services, but no shutdown_delay`},
		{"NS1023", "two tasks, one delayed", bridge + "task \"t\" {\n driver = \"docker\"\n shutdown_delay = \"5s\"\n service { port = \"http\" }\n}\ntask \"u\" {\n driver = \"docker\"\n service { port = \"http\" }\n service { port = \"1\" }\n}", []int{16}, `Task "u"`},
		{"NS1023", "services of the group, delayed task", bridge + "task \"t\" {\n driver = \"docker\"\n shutdown_delay = \"5s\"\n}\nservice { port = \"http\" }", nil, ""},
		{"NS1023", "delay of a proxy", bridge + docker + "task \"connect-proxy-s\" {\n kind = \"connect-proxy:s\"\n driver = \"docker\"\n shutdown_delay = \"5s\"\n}\nservice {\n name = \"s\"\n port = \"1\"\n connect {\n  sidecar_service {}\n }\n}", []int{20}, `Group "g"`},
		{"NS1023", "task that ends by itself", bridge + docker + "task \"i\" {\n driver = \"docker\"\n lifecycle { hook = \"poststop\" }\n service { port = \"http\" }\n}", nil, ""},
		{"NS1023", "no delay", bridge + docker + "shutdown_delay = \"0s\"\n" + `service { port = "http" }`, []int{16}, ""},
		{"NS1023", "batch", "job \"j\" {\ntype = \"batch\"\ngroup \"g\" {\n" + bridge + docker + "service { port = \"http\" }\n}\n}", nil, ""},
		{"NS1023", "unknown", "variable \"d\" { type = string }\njob \"j\" {\ngroup \"g\" {\nshutdown_delay = var.d\n" + bridge + docker + "service { port = \"http\" }\n}\n}", nil, ""},

		{"NS1024", "long", task(" kill_timeout = \"1m\"\n"), []int{5}, "kill_timeout of task \"t\" of group \"g\" is 1m0s"},
		{"NS1024", "short", task(" kill_timeout = \"30s\"\n"), nil, ""},

		{"NS1025", "prestart", task(" leader = true\n lifecycle {\n  hook = \"prestart\"\n }\n"), []int{5}, ""},
		{"NS1025", "main", task(" leader = true\n"), nil, ""},
		{"NS1025", "sidecar", task(" leader = true\n" + sidecarHook), nil, ""},

		{"NS1026", "group", "update {\n canary = 1\n}\nnetwork {\n port \"a\" {\n  static = 80\n }\n}\n" + docker, []int{7}, ""},
		{"NS1026", "job", "job \"j\" {\nupdate {\n canary = 1\n}\ngroup \"g\" {\nnetwork {\n port \"a\" {\n  static = 80\n }\n}\n" + docker + "}\n}", []int{7}, ""},
		{"NS1026", "dynamic", "update {\n canary = 1\n}\n" + bridge + docker, nil, ""},
		{"NS1026", "no canary", "network {\n port \"a\" {\n  static = 80\n }\n}\n" + docker, nil, ""},

		{"NS1030", "ID", "task \"t\" {\n driver = \"docker\"\n config {\n  image = \"" + strings.Repeat("0a", 32) + "\"\n }\n}", nil, ""},
		{"NS1030", "no tag", config("  image = \"redis\"\n"), []int{6}, `runs image "redis"`},
		{"NS1030", "latest", config("  image = \"docker.io/library/redis:latest\"\n"), []int{6}, ""},
		{"NS1030", "port of a registry", config("  image = \"registry.example:5000/redis\"\n"), []int{6}, ""},
		{"NS1030", "tag", config("  image = \"registry.example:5000/redis:7\"\n"), nil, ""},
		{"NS1030", "digest", config("  image = \"redis@sha256:0123\"\n"), nil, ""},
		{"NS1030", "loaded", config("  image = \"redis\"\n  load = \"redis.tar\"\n"), nil, ""},
		{"NS1030", "reference", config("  image = \"redis:${meta.version}\"\n"), nil, ""},
		{"NS1030", "variable", "variable \"i\" { type = string }\njob \"j\" {\ngroup \"g\" {\n" + config("  image = \"redis:${var.i}\"\n") + "}\n}", nil, ""},
		{"NS1030", "archive", "task \"t\" {\n driver = \"pod\"\n config {\n  image = \"oci:local/image\"\n }\n}", nil, ""},
		{"NS1030", "exec", "task \"t\" {\n driver = \"exec\"\n config {\n  image = \"x\"\n }\n}", nil, ""},

		{"NS1031", "outside", task(" template {\n  data = \"\"\n  destination = \"etc/app.conf\"\n }\n"), []int{5}, `The template of task "t" of group "g" writes "etc/app.conf"`},
		{"NS1031", "absolute", task(" artifact {\n  source = \"x\"\n  destination = \"/etc/app\"\n }\n"), []int{5}, ""},
		{"NS1031", "local", task(" template {\n  data = \"\"\n  destination = \"/local/app.conf\"\n }\n template {\n  data = \"\"\n  destination = \"${NOMAD_SECRETS_DIR}/x\"\n }\n"), nil, ""},
		{"NS1031", "alloc", task(" template {\n  data = \"\"\n  destination = \"../alloc/app.conf\"\n }\n"), nil, ""},
		{"NS1031", "mounted", task(" template {\n  data = \"\"\n  destination = \"etc/app.conf\"\n }\n config {\n  volumes = [\"etc:/etc/app\"]\n }\n"), nil, ""},
		{"NS1031", "mount block", task(" template {\n  data = \"\"\n  destination = \"etc/app.conf\"\n }\n config {\n  mount {\n   type = \"bind\"\n   source = \"etc/app.conf\"\n   target = \"/x\"\n  }\n }\n"), nil, ""},
		{"NS1031", "beside a tmpfs", task(" template {\n  data = \"\"\n  destination = \"etc/app.conf\"\n }\n config {\n  mount {\n   type = \"tmpfs\"\n   target = \"/x\"\n  }\n }\n"), []int{5}, ""},
		{"NS1031", "env", task(" template {\n  data = \"\"\n  destination = \"env\"\n  env = true\n }\n"), nil, ""},
		{"NS1031", "exec", "task \"t\" {\n driver = \"exec\"\n template {\n  data = \"\"\n  destination = \"etc/app.conf\"\n }\n}", nil, ""},

		{"NS1032", "volumes", config("  volumes = [\"${NOMAD_TASK_DIR}/x:/x\"]\n"), []int{6}, "${NOMAD_TASK_DIR} is the path inside the container"},
		{"NS1032", "relative", config("  volumes = [\"local/x:/x\", \"../alloc:${NOMAD_ALLOC_DIR}/x\"]\n"), nil, ""},

		{"NS1033", "no vault", task(" template {\n  data = \"{{ with secret \\\"kv/a\\\" }}{{ .Data.x }}{{ end }}\"\n }\n"), []int{5}, ""},
		{"NS1033", "vault of the group", "vault {}\n" + task(" template {\n  data = \"{{ with secret \\\"kv/a\\\" }}{{ .Data.x }}{{ end }}\"\n }\n"), nil, ""},
		{"NS1033", "variable of Nomad", task(" template {\n  data = \"{{ with nomadVar \\\"secret/a\\\" }}{{ .x }}{{ end }}\"\n }\n"), nil, ""},

		{"NS1040", "too much", "task \"t\" {\n driver = \"docker\"\n resources { memory = 800 }\n}\ntask \"u\" {\n driver = \"docker\"\n}", []int{2}, "reserves 1100 MB with its sidecars, more than the limit of 1000 MB: t 800, u 300"},
		{"NS1040", "one after the other", "task \"t\" {\n driver = \"docker\"\n resources { memory = 800 }\n}\ntask \"u\" {\n driver = \"docker\"\n lifecycle { hook = \"prestart\" }\n}", nil, ""},
		{"NS1040", "unknown", "variable \"m\" { type = number }\njob \"j\" {\ngroup \"g\" {\ntask \"t\" {\n driver = \"docker\"\n resources { memory = 2000 }\n}\ntask \"u\" {\n driver = \"docker\"\n resources { memory = var.m }\n}\n}\n}", nil, ""},

		{"NS1041", "less", task(" resources {\n  memory = 200\n  memory_max = 100\n }\n"), []int{7}, "memory_max = 100, less than memory, 200"},
		{"NS1041", "less than the default", task(" resources {\n  memory_max = 100\n }\n"), []int{6}, ""},
		{"NS1041", "no limit", task(" resources {\n  memory = 200\n  memory_max = -1\n }\n"), nil, ""},
		{"NS1042", "more", task(" resources {\n  memory = 200\n  memory_max = 400\n }\n"), []int{7}, ""},
		{"NS1042", "equal", task(" resources {\n  memory = 200\n  memory_max = 200\n }\n"), nil, ""},

		{"NS1043", "jvm_options", java(" config {\n  jvm_options = [\"-Xms64m\", \"-Xmx1g\"]\n }\n"), []int{3}, "grow to 1024 MB with -Xmx1g, but its memory limit is 300 MB"},
		{"NS1043", "env", task(" env { JAVA_OPTS = \"-server -Xmx512m -Dx=y\" }\n resources { memory = 500 }\n"), []int{3}, "512 MB"},
		{"NS1043", "bytes", java(" config {\n  jvm_options = [\"-Xmx1073741824\"]\n }\n"), []int{3}, "1024 MB"},
		{"NS1043", "fits", task(" env { JAVA_OPTS = \"-Xmx512m\" }\n resources {\n  memory = 300\n  memory_max = 600\n }\n"), nil, ""},
		{"NS1043", "not limited", "task \"t\" {\n driver = \"raw_exec\"\n env { JAVA_OPTS = \"-Xmx512m\" }\n}", nil, ""},
		{"NS1043", "huge", java(" config {\n  jvm_options = [\"-Xmx999999999999g\", \"-Xmx9999999999999999999g\"]\n }\n"), []int{3}, ""},

		{"NS1044", "shm_size", config("  shm_size = 1073741824\n"), []int{6}, "/dev/shm of task \"t\" of group \"g\" may hold 1024 MB"},
		{"NS1044", "tmpfs", "task \"t\" {\n driver = \"pod\"\n config {\n  tmpfs = [\"/tmp:mode=1777,size=512m\"]\n }\n}", []int{6}, "The tmpfs /tmp"},
		{"NS1044", "mount", config("  mount {\n   type = \"tmpfs\"\n   target = \"/t\"\n   tmpfs_options {\n    size = 536870912\n   }\n  }\n"), []int{6}, "The tmpfs /t"},
		{"NS1044", "fits", config("  shm_size = 67108864\n"), nil, ""},
	}
}
